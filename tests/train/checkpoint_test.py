import jax
import numpy as np
import pytest

from tests.conftest import small_config
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.train import checkpoint, setup, stages, state

VOCABULARY = Vocabulary(("<blank>", "A", "B"))
CONFIG = small_config()
RULES = (("frontend/.*", "train"), (".*", "freeze"))


def info(stage=0, next_batch=5):
    return checkpoint.RunInfo(stage, next_batch, "abc", {"a": [1]}, VOCABULARY, {"next_index": 5})


def make_state(step, ema=False, seed=0):
    params = whisper_sign.init(CONFIG.model, 3, seed)
    labels = stages.label_parameters(params, RULES, "stage1")
    settings = stages.StepSettings()
    tx = stages.make_optimizer(labels, settings, 1.0)
    return state.create(params, tx, step, ema=ema, loss_scale=2.0**15 if ema else None)


def steps_on_disk(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_saved_is_restored(tmp_path, ema):
    saved = make_state(7, ema)
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    checkpoints.save(saved, info())
    checkpoints.close()
    again = checkpoint.Checkpoints(tmp_path)
    assert again.latest_step == again.best_step == 7
    assert again.info(7) == info()
    restored = again.restore(7, make_state(0, ema, seed=1))
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_and_the_last_are_kept_even_over_a_restart(tmp_path):
    wers = {1: 0.9, 2: 0.3, 3: 0.5, 4: None, 5: 0.4}
    for part in ((1, 2, 3), (4, 5)):
        checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
        for step in part:
            checkpoints.save(make_state(step), info(), wers[step])
        checkpoints.close()
    assert steps_on_disk(tmp_path) == [2, 4, 5]
    again = checkpoint.Checkpoints(tmp_path)
    assert again.best_step == 2 and again.latest_step == 5
    assert again.best_wer(0) == 0.3 and again.best_wer(1) == np.inf


def test_a_later_stages_best_replaces_an_earlier_ones(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(make_state(1), info(stage=0), 0.1)
    checkpoints.save(make_state(2), info(stage=1), 0.4)
    checkpoints.save(make_state(3), info(stage=1), 0.5)
    checkpoints.wait()
    assert checkpoints.best_step == 2
    assert steps_on_disk(tmp_path) == [2, 3]


def test_saving_a_step_twice_is_nothing(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    for _ in range(2):
        checkpoints.save(make_state(1), info(), 0.5)
    checkpoints.close()
    assert steps_on_disk(tmp_path) == [1]


def test_the_moving_average_is_what_is_evaluated(tmp_path):
    saved = make_state(1, ema=True)
    saved = saved.replace(ema=jax.tree.map(lambda p: p + 1.0, saved.ema))
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(saved, info())
    checkpoints.wait()
    weights = checkpoints.restore_weights(1, saved.params)
    np.testing.assert_array_equal(weights["ctc_head"]["bias"], saved.ema["ctc_head"]["bias"])


def test_another_shape_names_the_paths_that_differ(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(make_state(1), info())
    checkpoints.wait()
    wider = small_config()
    wider.model.encoder.num_layers = 2
    network = setup.make_network(wider, 4)
    with pytest.raises(WSignError, match="of its parameters do not fit this model") as error:
        checkpoints.restore_weights(1, network.shapes)
    assert "ctc_head/bias: (3,) there, (4,) here" in str(error.value)
    assert "encoder/blocks/1/mlp/up/kernel: missing there, (128, 512) here" in str(error.value)


def test_looking_for_a_checkpoint_creates_nothing(tmp_path):
    assert not checkpoint.has_checkpoint(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []

import dataclasses
import itertools
import shutil
import time

import jax
import numpy as np
import pytest

from tests.conftest import small_config
from tests.helpers.changed import changed_metadata
from tests.train.checkpoint.run_info_test import RUN_INFO
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.train import optimizer, stages
from wsign_jax.train.checkpoint import checksums, store
from wsign_jax.train.state import create_state

CONFIG = small_config()
RULES = (("frontend/.*", "train"), (".*", "freeze"))


def info(stage=0, wer=None):
    return dataclasses.replace(RUN_INFO, stage=stage, val_wer=wer, best_wer=wer)


def make_state(step, ema=False, seed=0):
    params = whisper_sign.init_params(
        CONFIG.model, whisper_sign.build_network(CONFIG.model, 3)[1], seed
    )
    labels = stages.label_parameters(params, RULES, "stage1")
    settings = stages.StepSettings()
    tx = optimizer.make_optimizer(labels, settings, 1.0)
    return create_state(params, tx, step, ema=ema, loss_scale=2.0**15 if ema else None)


def steps_on_disk(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_saved_is_restored(tmp_path, ema):
    saved = make_state(7, ema)
    checkpoints = store.Checkpoints(tmp_path, keep=2)
    checkpoints.save(saved, info())
    checkpoints.close()
    again = store.Checkpoints(tmp_path)
    assert again.latest_step == again.best_step == 7
    assert again.info(7) == info()
    restored = again.restore(7, make_state(0, ema, seed=1))
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_and_the_last_are_kept_even_over_a_restart(tmp_path):
    wers = {1: 0.9, 2: 0.3, 3: 0.5, 4: None, 5: 0.4}
    for part in ((1, 2, 3), (4, 5)):
        checkpoints = store.Checkpoints(tmp_path, keep=2)
        for step in part:
            checkpoints.save(make_state(step), info(wer=wers[step]))
        checkpoints.close()
    assert steps_on_disk(tmp_path) == [2, 4, 5]
    again = store.Checkpoints(tmp_path)
    assert again.best_step == 2 and again.latest_step == 5
    assert again.info(2).val_wer == 0.3 and again.info(4).val_wer is None


def test_a_later_stages_best_replaces_an_earlier_ones(tmp_path):
    checkpoints = store.Checkpoints(tmp_path, keep=1)
    checkpoints.save(make_state(1), info(0, 0.1))
    checkpoints.save(make_state(2), info(1, 0.4))
    checkpoints.save(make_state(3), info(1, 0.5))
    checkpoints.wait()
    assert checkpoints.best_step == 2
    assert steps_on_disk(tmp_path) == [2, 3]


def test_saving_a_step_twice_is_nothing(tmp_path):
    checkpoints = store.Checkpoints(tmp_path, keep=1)
    for _ in range(2):
        checkpoints.save(make_state(1), info(wer=0.5))
    checkpoints.close()
    assert steps_on_disk(tmp_path) == [1]


def test_the_moving_average_is_what_is_evaluated(tmp_path):
    saved = make_state(1, ema=True)
    saved = saved.replace(ema=jax.tree.map(lambda p: p + 1.0, saved.ema))
    checkpoints = store.Checkpoints(tmp_path, keep=1)
    checkpoints.save(saved, info())
    checkpoints.wait()
    weights = checkpoints.restore_weights(1, saved.params)
    np.testing.assert_array_equal(weights["ctc_head"]["bias"], saved.ema["ctc_head"]["bias"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the checkpoints 1 and 2."""
    workdir = tmp_path_factory.mktemp("saved")
    checkpoints = store.Checkpoints(workdir, keep=2)
    for step in (1, 2):
        checkpoints.save(make_state(step), info(wer=step / 10))
    checkpoints.close()
    return workdir


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("item", ["params", "training", "_CHECKPOINT_METADATA"])
@pytest.mark.parametrize("damage", [cut, flip])
def test_damage_is_noticed(saved, tmp_path, item, damage):
    workdir = tmp_path / "work"
    shutil.copytree(saved, workdir)
    place = workdir / "checkpoints" / "2" / item
    files = [path for path in place.rglob("*") if path.is_file()] or [place]
    damage(max(files, key=lambda path: path.stat().st_size))
    checkpoints = store.Checkpoints(workdir, keep=2)
    with pytest.raises(store.DamagedCheckpoint, match="checkpoints/2: not a whole checkpoint"):
        checkpoints.restore(2, make_state(0))
    assert int(checkpoints.restore(1, make_state(0)).step) == 1
    assert checkpoints.set_aside(2) == workdir / "damaged" / "2"
    assert checkpoints.steps == [1] and checkpoints.best_step == 1


def test_devices_and_their_host_find_the_same_checksum():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    # With Python's own numbers, word by word.
    total = 0
    for place, word in enumerate(x.view(np.uint32).ravel().tolist()):
        mixed = (word + place * 0x9E3779B9) % 2**32
        mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B % 2**32
        mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 % 2**32
        total = (total + (mixed ^ mixed >> 16)) % 2**32
    assert checksums._checksum_of_array(x) == int(checksums._sum_on_devices(x)) == total


def test_a_changed_weight_changes_its_digest_wherever_it_is():
    def digest(x):
        return checksums.checksums_of_arrays({"params": {"kernel": x}})["params"]

    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    digests = {digest(x)}
    for index in np.ndindex(x.shape):
        for bit in (0, 31):
            changed = x.copy()
            changed.view(np.uint32)[index] ^= np.uint32(1 << bit)
            digests.add(digest(changed))
    digests.add(digest(x[:, ::-1]))
    assert len(digests) == 2 + 2 * x.size


def test_a_disk_that_is_full_leaves_the_last_checkpoint_and_says_so(tmp_path):
    checkpoints = store.Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), info())
    checkpoints.wait()

    def write(*args, **kwargs):
        raise OSError(28, "No space left on device")

    checkpoints._checkpointer.save_checkpointables_async = write
    with pytest.raises(
        WSignError, match=r"could not be written .*No space left on device"
    ) as error:
        checkpoints.save(make_state(2), info())
    assert f"last whole checkpoint: {tmp_path / 'checkpoints' / '1'};" in str(error.value)
    assert steps_on_disk(tmp_path) == [1]


def test_a_clock_that_leaps_is_not_taken_for_a_full_disk(tmp_path, monkeypatch, capsys):
    checkpoints = store.Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), info())
    checkpoints.wait()
    days = itertools.count()
    now = time.time
    with monkeypatch.context() as leaping:
        leaping.setattr(time, "time", lambda: now() + 86_400 * next(days))
        with pytest.raises(
            WSignError, match=r"the clock leapt \(.*checkpoints/1; the same command goes on"
        ):
            checkpoints.save(make_state(2), info())
            checkpoints.wait(make_state(2))
    assert capsys.readouterr().out.count("; trying once more\n") == 1
    checkpoints.save(make_state(2), info())
    checkpoints.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]
    assert int(store.Checkpoints(tmp_path).restore(2, make_state(2)).step) == 2


def test_the_best_is_a_whole_one_even_where_none_was_validated(tmp_path):
    checkpoints = store.Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(make_state(step), info())
    checkpoints.close()
    cut(tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA")
    again = store.Checkpoints(tmp_path)
    assert again.damaged == [2] and again.best_step == 1
    cut(tmp_path / "checkpoints" / "1" / "_CHECKPOINT_METADATA")
    with pytest.raises(store.DamagedCheckpoint, match="checkpoints/2: not a whole checkpoint"):
        assert store.Checkpoints(tmp_path).best_step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("run"), r"another version .*'run' is missing"),
        (lambda about: about.pop("format"), r"an older version .*read it with commit b869d58, or"),
        (lambda about: about.update(format=3), r"a newer version .*reads format 2\); update"),
    ],
)
def test_a_checkpoint_of_another_version_is_no_damage(saved, tmp_path, change, message):
    workdir = changed_metadata(saved, tmp_path, change)
    with pytest.raises(WSignError, match=message) as error:
        store.Checkpoints(workdir).info(2)
    assert not isinstance(error.value, store.DamagedCheckpoint)
    assert "\n" not in str(error.value)

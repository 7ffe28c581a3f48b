import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import image

from tests.conftest import config_of
from tests.helpers import logs
from wsign_jax.model import whisper_sign
from wsign_jax.report.metrics import EditCounts
from wsign_jax.train import initial_weights, loop, tensorboard_pictures
from wsign_jax.train.run import prepare_run
from wsign_jax.train.validation import Evaluation

pytestmark = pytest.mark.usefixtures("standard_promotion")

SENTENCE = {"val/ctc", "val/attention", "val/skeleton"}


def test_a_run_shows_what_it_is_and_what_the_model_makes_of_a_sentence(trained_run):
    _, workdir = trained_run
    shown = logs.shown(workdir)
    begin = {value.tag: value for step, value in shown if step == 0}
    assert begin.keys() == {
        "config/text_summary", "data/lengths", "_hparams_/experiment",
        "_hparams_/session_start_info", "_hparams_/session_end_info",
    }  # fmt: skip
    config = begin["config/text_summary"].tensor.string_val[0].decode()
    assert "| stage2.batch_size | `4` |\n" in config and "| model.size | `'tiny'` |\n" in config
    assert "stage1" not in config, "a stage that does not run"
    about = begin["_hparams_/session_start_info"].metadata.plugin_data.content
    assert b"stage2.lr" in about and b"val/wer" not in about
    assert b"val/wer" in begin["_hparams_/experiment"].metadata.plugin_data.content
    last = logs.last_step(workdir)
    drawn = [(step, value) for step, value in shown if value.HasField("image")]
    assert {value.tag for step, value in drawn if step == last} >= SENTENCE
    assert len({(step, value.tag) for step, value in drawn}) == len(drawn)
    for _, value in drawn:
        pixels = image.imread(io.BytesIO(value.image.encoded_image_string), format="png")
        assert pixels.shape[:2] == (value.image.height, value.image.width)
        assert pixels.shape[2] == value.image.colorspace and pixels.std() > 0.05, value.tag


def test_pictures_can_be_left_out(trained_run, tmp_path):
    root, _ = trained_run
    config = config_of(root)
    config.eval.pictures, config.training.max_steps = False, 1
    loop.train(config, tmp_path)
    assert all(value.HasField("simple_value") for _, value in logs.shown(tmp_path))


class Recorder:
    """A writer that keeps the tags of pictures."""

    def __init__(self):
        self.tags = []

    def picture(self, step, tag, png):
        assert png.startswith(b"\x89PNG")
        self.tags.append(tag)


def test_drawn_are_the_rungs_of_wer_and_the_end_of_a_stage(trained_run, tmp_path):
    root, _ = trained_run
    run = prepare_run(config_of(root), tmp_path)
    writer = Recorder()
    pictures, stage, params = (
        tensorboard_pictures.TensorBoardPictures(run, writer),
        run.stages[0],
        initial_weights.fresh_params(run),
    )

    def drawn(errors, best, last=False):
        writer.tags.clear()
        found = {n: [1 + n % 5] for n in range(len(run.val))}
        result = Evaluation(1.0, EditCounts(errors, 0, 0, 100), len(found), 0.5, 0.5, found)
        pictures.draw_validation(stage, 1, params, result, best=best, last=last)
        return set(writer.tags)

    assert drawn(100, math.inf) >= SENTENCE, "the first of a stage"
    assert "val/confusions" in writer.tags
    assert not drawn(80, 1.0) and not drawn(76, 0.8)
    assert drawn(74, 0.76) and not drawn(74, 0.74)
    assert drawn(0, 0.02) and not drawn(0, 0.0)
    assert drawn(90, 0.5, last=True)


def test_the_attention_decoder_is_not_shown_where_it_does_not_train(trained_run, tmp_path):
    root, _ = trained_run
    config = config_of(root)
    config.stage2.alpha = 1.0
    run = prepare_run(config, tmp_path)
    writer = Recorder()
    found = {n: [] for n in range(len(run.val))}
    result = Evaluation(1.0, EditCounts(0, 9, 0, 9), len(found), 1.0, 0.0, found)
    pictures = tensorboard_pictures.TensorBoardPictures(run, writer)
    params = initial_weights.fresh_params(run)
    pictures.draw_validation(run.stages[0], 1, params, result, best=math.inf, last=True)
    assert writer.tags == ["val/ctc", "val/skeleton"], "nor confusions where there are none"


def test_alignment_is_a_share_of_every_valid_patch(config):
    graph, shapes = whisper_sign.build_network(config.model, 7)
    decoder = whisper_sign.bind_params(
        graph, whisper_sign.init_params(config.model, shapes, seed=0)
    ).decoder
    encoded = jax.random.normal(jax.random.key(0), (2, 6, 128))
    tokens, patches = jnp.array([[0, 3, 1], [0, 2, 2]]), jnp.array([6, 4])
    alignment = jax.jit(lambda tokens: decoder.alignment(tokens, encoded, patches))
    weights = np.asarray(alignment(tokens))
    assert weights.shape == (2, 3, 6)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    assert np.all(weights[1, :, 4:] == 0) and np.all(weights[0] > 0)
    # What the first label looks at does not hang on those after it.
    other = np.asarray(alignment(tokens.at[0, 2].set(5)))
    np.testing.assert_array_equal(other[0, :2], weights[0, :2])
    assert np.any(other[0, 2] != weights[0, 2])

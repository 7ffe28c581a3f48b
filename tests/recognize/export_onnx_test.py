"""ONNX against the recognizer, through onnxruntime, where the extra [onnx] is installed."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import streams
from wsign_jax import Recognizer
from wsign_jax.common.errors import WSignError
from wsign_jax.decode.streaming import GreedyStreamDecoder
from wsign_jax.keypoints import joints
from wsign_jax.recognize import export_onnx, run_backend
from wsign_jax.recognize.exported_stream import STATE
from wsign_jax.stream import run_stream
from wsign_jax.stream.stream import Stream

FRAMES = 90


@pytest.mark.filterwarnings("ignore")  # of jax2onnx and onnxruntime
def test_onnxruntime_gives_the_logits_of_the_recognizer(talkative_run, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    run, path = run_backend.RunBackend(talkative_run), tmp_path / "model.onnx"
    export_onnx.export_onnx(run.trained, path, FRAMES)
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["label_map"]) == dict(run.vocabulary.ids)
    rng = np.random.default_rng(0)
    for frames in (2, 37, FRAMES):
        keypoints = random_features(rng, frames)
        padded = np.full((92, 42, 7), np.nan, np.float32)
        padded[:frames] = keypoints
        arrays = [
            *(array[None] for array in joints.positions_and_confidence(padded)),
            np.array([frames], np.int32),
        ]
        inputs = dict(zip(export_onnx.INPUTS, arrays, strict=True))
        logits, patches = session.run(list(export_onnx.OUTPUTS), inputs)
        [expected] = Recognizer(run).logits(keypoints[None], [frames])
        assert patches.tolist() == [len(expected)]
        found = logits[0, : len(expected)]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        np.testing.assert_array_equal(found.argmax(axis=-1), expected.argmax(axis=-1))


@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_streams_as_the_run_does(tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    run, path = streams.model("look-ahead"), tmp_path / "stream.onnx"
    export_onnx.export_onnx_stream(run, path)
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["label_map"]) == dict(run.vocabulary.ids)
    assert json.loads(about["stream"]) == {"chunk": 8, "left_context": 16, "layers": 2, "taps": 7}
    assert json.loads(about["settings"])["patch_size"] == 4
    inputs = {x.name: (tuple(x.shape), x.type) for x in session.get_inputs()}
    assert inputs.keys() == {*STATE, *export_onnx.STREAM_INPUTS}
    for output in session.get_outputs()[1:]:
        assert inputs[output.name.removeprefix("next_")] == (tuple(output.shape), output.type)

    model, chunks = run_stream.run_model(run, 8, 16), 0
    features = random_features(np.random.default_rng(0), 3203)
    state = [np.asarray(x) for x in jax.tree.leaves(model.cache)]

    def step(cache, chunk):
        nonlocal state, chunks
        outputs, cache = model.step(cache, chunk)
        arrays = map(np.asarray, (*chunk[:-1], *chunk.angles))
        given = dict(zip(export_onnx.STREAM_INPUTS, arrays, strict=True))
        log_probs, *state = session.run(None, dict(zip(STATE, state, strict=True)) | given)
        np.testing.assert_allclose(log_probs, outputs.log_probs, atol=1e-4)
        for found, expected in zip(state, jax.tree.leaves(cache), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)
        chunks += 1
        return outputs, cache

    stream = Stream(dataclasses.replace(model, step=step), GreedyStreamDecoder())
    state = [np.asarray(x) for x in jax.tree.leaves(model.cache)]  # the stream has tried a step
    stream.push(features)
    stream.finish()
    assert chunks > 100


def test_without_the_extra_it_says_what_to_install(talkative_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    run = run_backend.RunBackend(talkative_run).trained
    with pytest.raises(
        WSignError, match=r'jax2onnx is not installed; .* pip install -e "\.\[onnx\]"'
    ):
        export_onnx.export_onnx(run, tmp_path / "model.onnx", FRAMES)
    with pytest.raises(WSignError, match="frames is -1"):
        export_onnx.export_onnx(run, tmp_path / "model.onnx", -1)
    assert not list(tmp_path.iterdir())

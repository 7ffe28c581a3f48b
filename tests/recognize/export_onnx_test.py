"""ONNX against the recognizer, through onnxruntime, where the extra [onnx] is installed."""

import json
import sys

import numpy as np
import pytest

from tests.conftest import random_features
from wsign_jax import Recognizer
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints
from wsign_jax.recognize import export_onnx, run_backend

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

import dataclasses
import json

import numpy as np
import pytest

from tests.helpers import streams
from tests.helpers.signs import as_frames, sign
from tests.web.conftest import tell_signs
from wsign_jax.common.errors import WSignError
from wsign_jax.decode import unknown
from wsign_jax.recognize import export_onnx
from wsign_jax.web import model_folder


def export(monkeypatch, content):
    """Has the export write this, or fail."""

    def write(run, path):
        if content is None:
            raise WSignError("no jax2onnx")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(export_onnx, "export_onnx_stream", write)


def test_a_folder_is_of_one_model(tmp_path, monkeypatch):
    folder = tmp_path / "site/model"

    def content():
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    export(monkeypatch, b"one")
    run = dataclasses.replace(streams.model("rotary"), workdir=tmp_path / "run")
    familiarity = unknown.fit_familiarity(np.eye(streams.V), np.arange(streams.V), streams.V)
    tell_signs(run, familiarity, -3.0, {"ONE": [as_frames(sign(1))]})
    model_folder.write_model_folder(run, folder)
    before = content()
    arrays = "known_signs.f32", "enrolled.f32"
    assert before.keys() == {"stream.onnx", "stream.json", *arrays}
    assert before["stream.onnx"] == b"one"
    assert before["known_signs.f32"][:28] == familiarity.means[0].tobytes()
    settings = json.loads(before["stream.json"])
    for name in arrays:
        assert len(before[name]) == 4 * sum(map(np.prod, settings["arrays"][name].values()))
    assert settings["unknown"]["below"] == -3.0 and settings["enrolled"]["names"] == ["ONE"]
    assert settings["sentence_end"]["rest_frames"] == 0  # none ends by itself with enrolled signs
    assert settings["labels"][:2] == ["<blank>", "GLOSS-1"] and settings["most_patches"] is None
    assert settings["inputs"]["keys"] == {"type": "float32", "shape": [2, 1, 24, 4, 32]}

    export(monkeypatch, None)
    with pytest.raises(WSignError, match="no jax2onnx"):
        model_folder.write_model_folder(streams.model("look-ahead"), folder)
    assert content() == before

    export(monkeypatch, b"two")
    model_folder.write_model_folder(streams.model("sinusoidal"), folder)
    assert content().keys() == {"stream.onnx", "stream.json"}
    assert content()["stream.onnx"] == b"two"
    settings = json.loads(content()["stream.json"])
    assert settings["most_patches"] == 1500 and settings["sentence_end"]["rest_frames"] == 60
    assert settings["unknown"] is settings["enrolled"] is None

    monkeypatch.setattr(model_folder.os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model_folder.write_model_folder(streams.model("rotary"), folder)
    assert content().keys() == {"stream.onnx"}  # which is no model

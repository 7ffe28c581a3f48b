import json

import pytest

from tests.helpers import streams
from wsign_jax.common.errors import WSignError
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
    model_folder.write_model_folder(streams.model("rotary"), folder)
    before = content()
    assert before.keys() == {"stream.onnx", "stream.json"} and before["stream.onnx"] == b"one"
    settings = json.loads(before["stream.json"])
    assert settings["labels"][:2] == ["<blank>", "GLOSS-1"] and settings["most_patches"] is None
    assert settings["inputs"]["keys"] == {"type": "float32", "shape": [2, 1, 24, 4, 32]}

    export(monkeypatch, None)
    with pytest.raises(WSignError, match="no jax2onnx"):
        model_folder.write_model_folder(streams.model("look-ahead"), folder)
    assert content() == before

    export(monkeypatch, b"two")
    model_folder.write_model_folder(streams.model("sinusoidal"), folder)
    assert content()["stream.onnx"] == b"two"
    assert json.loads(content()["stream.json"])["most_patches"] == 1500

    monkeypatch.setattr(model_folder.os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model_folder.write_model_folder(streams.model("rotary"), folder)
    assert content().keys() == {"stream.onnx"}  # which is no model

"""Small checkpoints of Whisper to test with, in the Hugging Face layout."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
from safetensors.numpy import load_file, save_file

from wsign_jax.model import whisper_sign

FIXTURE = pathlib.Path(__file__).parent / "whisper"  # see helpers/make_whisper.py
SIZE = whisper_sign.Size(32, 4, 64, 2, 2)  # its shape


Tensors = dict[str, np.ndarray]


def write(
    folder: pathlib.Path,
    change: Callable[[Tensors], object] = lambda tensors: None,
    **config: object,
) -> pathlib.Path:
    """Writes the fixture's weights, changed in place, with other fields of its config."""
    tensors = load_file(FIXTURE / "model.safetensors")
    change(tensors)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    about = json.loads((FIXTURE / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def shard(folder: pathlib.Path) -> None:
    """Splits a checkpoint's tensors over two files with an index."""
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(tensors)}
    for name in names:
        save_file({k: v for k, v in tensors.items() if places[k] == name}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))

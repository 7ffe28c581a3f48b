"""Exports a trained run to ONNX, which runs without jax.

    positions  (1, T, 42, 3) float32, as a tracker gives them, x, y and z in picture widths
    hands      (1, T, 2) float32, confidence of the left and the right hand, 0 if it is absent
    frames     (1,) int32, how many are valid
    logits     (1, N, V) float32 of CTC, meaningless beyond `patches`
    patches    (1,) int32

T is fixed: jax2onnx 0.13, the newest that works with orbax-checkpoint 0.12, cannot convert this network
with symbolic sizes. Padding does not change the result, so one T serves every recording up to that
length. Vocabulary and settings are in the file's metadata, as JSON. The attention window is the run's.
"""

import dataclasses
import json
import logging
import pathlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.recognize import run_backend

INPUTS, OUTPUTS = ("positions", "hands", "frames"), ("logits", "patches")


def export_onnx(trained: Trained, path: pathlib.Path, frames: int) -> None:
    """Writes a run as ONNX; replaces what is there.

    The run is in float32. Recordings may have up to `frames` frames; T is the next multiple of the patch
    size.

    Raises:
        WSignError: jax2onnx is not installed, or `frames` is below 1.
    """
    if frames < 1:
        raise WSignError(f"frames is {frames}; give the most that a recording may have")
    to_onnx = _converter()
    settings = run_backend.recognizer_settings(trained)
    window = jnp.int32(settings.chunk), jnp.int32(settings.left_context)

    def step(
        positions: jax.Array, hands: jax.Array, frames: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        model = whisper_sign.bind_params(trained.network.graph, trained.params)
        _, logits, patches = run_backend.encode_keypoints(model, positions, hands, frames, window)
        return logits, patches

    length = -(-frames // settings.patch_size) * settings.patch_size
    shapes = (
        jax.ShapeDtypeStruct((1, length, joints.NUM_JOINTS, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, length, len(joints.HANDS)), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    # Traced here, because jax2onnx replaces layers of Flax by its own while it traces.
    traced = jax.make_jaxpr(step)(*shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own plugins
        model = to_onnx(
            jaxpr_as_fun(traced),
            list(shapes),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            model_name="whisper_sign",
        )
    for name, value in (
        ("label_map", dict(trained.vocabulary.ids)),
        ("settings", dataclasses.asdict(settings)),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    files.write(path, model.SerializeToString())


def _converter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from jax2onnx import to_onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; ONNX needs pip install -e ".[onnx]"'
        ) from None
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it logs every shape that it leaves out
    return to_onnx

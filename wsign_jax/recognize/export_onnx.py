"""Exports a trained run to ONNX, which runs without jax.

    positions  (1, T, 42, 3) float32, as a tracker gives them, x, y and z in picture widths
    hands      (1, T, 2) float32, confidence of the left and the right hand, 0 if it is absent
    frames     (1,) int32, how many are valid
    logits     (1, N, V) float32 of CTC, meaningless beyond `patches`
    patches    (1,) int32

T is fixed: jax2onnx 0.13, the newest that works with orbax-checkpoint 0.12, cannot convert this network
with symbolic sizes. Padding does not change the result, so one T serves every recording up to that
length. Vocabulary and settings are in the file's metadata, as JSON. The attention window is the run's.

A stream's step is a file of its own, for chunks of C patches of P frames (`stream` in the metadata):

    positions, hands  (1, C * P + 1, ...) the next frames, and the first of the next chunk
    begin, end        (1,) int32 the first of these frames in the stream; the one after the last
    first             () int32 number of the first patch that comes out, a multiple of C: at first -A,
                      with A the frontend's look-ahead rounded up to whole chunks
    patches           () int32 length of the stream, 2**30 until its end has come
    cos, sin          (C, K / 2) float32 rotary angles of these patches; not with sinusoidal positions
    the state         as `exported_stream.STATE` names it; zeros before the first chunk
    log_probs         (C, V) float32 log posteriors
    the next state    the same names, with `next_` before each

`wsign_jax/stream/chunks.py` shows how chunks are filled and a stream goes on.
"""

import dataclasses
import json
import logging
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.recognize import export, exported_stream, run_backend
from wsign_jax.recognize.backend import RecognizerSettings
from wsign_jax.recognize.exported_stream import STATE, StreamSizes

INPUTS, OUTPUTS = ("positions", "hands", "frames"), ("logits", "patches")
STREAM_INPUTS = ("positions", "hands", "begin", "end", "first", "patches", "cos", "sin")
_TABLES = STREAM_INPUTS.index("cos")  # and from there on
STREAM_OUTPUTS = ("log_probs", *(f"next_{name}" for name in STATE))


def export_onnx(trained: Trained, path: pathlib.Path, frames: int) -> None:
    """Writes a run as ONNX; replaces what is there.

    The run is in float32. Recordings may have up to `frames` frames; T is the next multiple of the patch
    size.

    Raises:
        WSignError: jax2onnx is not installed, or `frames` is below 1.
    """
    if frames < 1:
        raise WSignError(f"frames is {frames}; give the most that a recording may have")
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
    _write(
        path, trained, step, shapes, (INPUTS, OUTPUTS), {"settings": dataclasses.asdict(settings)}
    )


def export_onnx_stream(trained: Trained, path: pathlib.Path) -> None:
    """Writes the step of a run's stream, in float32 and with its default window; replaces what is there.

    Raises:
        WSignError: jax2onnx is not installed.
    """
    settings, sizes = run_backend.recognizer_settings(trained), export.stream_sizes(trained)
    stream, inputs, count = export.stream_step(trained), stream_inputs(settings, sizes), len(STATE)

    def step(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        state, given = arrays[:count], arrays[count:]
        return stream(trained.params, state, (*given[:_TABLES], given[_TABLES:]))

    about = {"settings": dataclasses.asdict(settings), "stream": dataclasses.asdict(sizes)}
    _write(path, trained, step, (*inputs.values(),), ((*inputs,), STREAM_OUTPUTS), about)


def stream_inputs(
    settings: RecognizerSettings, sizes: StreamSizes
) -> dict[str, jax.ShapeDtypeStruct]:
    """The inputs of a stream's step by their names: the state, and the chunk."""
    _, state, (*fields, tables) = exported_stream.stream_arguments(settings, sizes, {})
    # Only with rotary positions there are tables.
    chunk = zip(STREAM_INPUTS, (*fields, *tables), strict=False)
    return {**dict(zip(STATE, state, strict=True)), **dict(chunk)}


def _write(
    path: pathlib.Path,
    trained: Trained,
    step: Callable[..., tuple[jax.Array, ...]],
    shapes: Sequence[jax.ShapeDtypeStruct],
    names: tuple[Sequence[str], Sequence[str]],  # of inputs and outputs
    about: Mapping[str, Any],
) -> None:
    to_onnx = _converter()
    # Traced here, because jax2onnx replaces layers of Flax by its own while it traces.
    traced = jax.make_jaxpr(step)(*shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own plugins
        model = to_onnx(
            jaxpr_as_fun(traced),
            list(shapes),
            input_names=list(names[0]),
            output_names=list(names[1]),
            model_name="whisper_sign",
        )
    for output, aval in zip(model.graph.output, traced.out_avals, strict=True):
        for dim, size in zip(output.type.tensor_type.shape.dim, aval.shape, strict=True):
            dim.dim_value = size  # jax2onnx forgets the length of a loop
    for name, value in {"label_map": dict(trained.vocabulary.ids), **about}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    files.write(path, model.SerializeToString())


def _converter() -> Any:
    for name in ("jax2onnx", "onnx_ir"):  # they log tracebacks and shapes that they can do without
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from jax2onnx import to_onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; ONNX needs pip install -e ".[onnx]"'
        ) from None
    return to_onnx

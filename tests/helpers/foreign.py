"""Exported files as somebody else might write them, of a program that is no network."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.calibration import NOT_CALIBRATED
from wsign_jax.decode.unknown import KnownSigns
from wsign_jax.recognize import exported_file, exported_program, exported_stream, file_backend
from wsign_jax.recognize.backend import RecognizerSettings
from wsign_jax.recognize.enrollment import Enrolled

SETTINGS = RecognizerSettings(
    patch_size=4, look_ahead=0, aspect=0.0, positions="sinusoidal", width=8, head_width=4,
    chunk=0, left_context=0,
)  # fmt: skip
VOCABULARY = Vocabulary(("<blank>", "A", "B"))
PARAMETERS = {"a/b": np.arange(3, dtype=np.float32)}
SHAPES = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in PARAMETERS.items()}
TAKEN = file_backend.program_arguments(SETTINGS, SHAPES)
SIZES = exported_stream.StreamSizes(chunk=2, left_context=3, layers=1, taps=2)
TAKEN_BY_STREAM = exported_stream.stream_arguments(SETTINGS, SIZES, SHAPES)
RESULTS = file_backend.program_results(len(VOCABULARY))


def silent(
    parameters: dict[str, jax.Array],
    keypoints: jax.Array,
    hands: jax.Array,
    frames: jax.Array,
    *others: Any,
) -> tuple[jax.Array, ...]:
    """A program that never finds a gloss."""
    del hands, others
    rows, length = keypoints.shape[0], keypoints.shape[1] // SETTINGS.patch_size
    logits = jnp.zeros((rows, length, 1), jnp.float32) + parameters["a/b"][None, None]
    numbers = jnp.zeros((rows, length), jnp.int32)
    return (
        *(logits, frames // SETTINGS.patch_size),
        *(numbers[:, None], numbers[:, :1], jnp.zeros((rows, 1), jnp.float32)),
        *(numbers, numbers, jnp.zeros((rows, length), jnp.float32), jnp.zeros(rows, jnp.float32)),
    )


def silent_stream(
    parameters: dict[str, jax.Array], state: tuple[jax.Array, ...], chunk: Any
) -> tuple[jax.Array, ...]:
    """A stream's step that never finds a gloss."""
    del chunk
    log_probs = jnp.zeros((SIZES.chunk, 1), jnp.float32) - parameters["a/b"][None]
    return log_probs, *state


def exported_of(
    function: Callable[..., Any], disabled_checks: Any = (), taken: Any = TAKEN
) -> jax.export.Exported:
    """A function as a program."""
    exporting = jax.export.export(
        jax.jit(function), platforms=exported_program.PLATFORMS, disabled_checks=disabled_checks
    )
    return dataclasses.replace(exporting(*taken), fun_name="step")


def write(
    path: pathlib.Path,
    program: bytes,
    stream: Callable[..., Any] = silent_stream,
    enrolled: Enrolled | None = None,
    known: KnownSigns | None = None,
) -> None:
    """A file of that program, of a stream's step, and of enrolled and known signs."""
    step = bytes(exported_of(stream, taken=TAKEN_BY_STREAM).serialize())
    about = {"versions": {"jax": jax.__version__}, "unknown_below": -7.5}
    programs = program, step
    exported_file.write_exported(
        path,
        SETTINGS,
        VOCABULARY,
        NOT_CALIBRATED,
        PARAMETERS,
        programs,
        SIZES,
        about,
        enrolled,
        known,
    )

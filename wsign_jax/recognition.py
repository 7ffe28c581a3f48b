"""What recognises: the settings and the program of a model, however it is kept."""

import dataclasses
import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.align import Alignment
from wsign_jax.decode.beam import Beams
from wsign_jax.errors import WSignError, shown

_MOST_PATCHES = 2**30 - 1  # chunk and left context are added up in int32


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a model expects of its input, and its window where none is asked for."""

    patch_size: int  # frames
    look_ahead: int  # of the frontend, in patches
    wrist_place: bool  # of `normalize.normalize`
    aspect: float  # of its data set's features, as config.data.aspect; 0: see dataset.json
    positions: str  # one of `positions.POSITIONS`
    width: int  # D
    head_width: int  # K
    chunk: int  # in patches; 0: full attention
    left_context: int  # in patches

    def window(self, chunk: int | None, left_context: int | None) -> tuple[int, int]:
        """Chunk and left context in patches; None takes the model's own.

        Raises:
            WSignError: one is below 0.
        """
        check_window(chunk, left_context)
        return (
            self.chunk if chunk is None else chunk,
            self.left_context if left_context is None else left_context,
        )


def check_window(chunk: int | None, left_context: int | None) -> None:
    """Raises a `WSignError` where an attention window is no number of patches."""
    for name, value in (("chunk", chunk), ("left_context", left_context)):
        if value is not None and (not isinstance(value, numbers.Integral) or value < 0):
            raise WSignError(f"{name} is {value!r}; give patches, 0 or more")
        if value is not None and value > _MOST_PATCHES:
            raise WSignError(f"{name} is {value}; give less, or chunk 0 for full attention")


def as_patches(name: str, value: Any) -> int:
    """An argument that is a number of patches, of whatever integer type, as Python's own.

    Raises:
        WSignError: it is no whole number.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise WSignError(f"{name} is {shown(value)}; give patches, a whole number") from None


def check_decoder_name(decoder: Any) -> None:
    """Raises a `WSignError` for what is no decoder's name at all."""
    if not isinstance(decoder, str):
        raise WSignError(f"decoder is {shown(decoder)}; give a name, such as 'greedy'")


class Recognised(NamedTuple):
    """What a batch gives: the best hypothesis of each row, and where it comes from."""

    logits: jax.Array  # (B, N, V) float32 of CTC
    patches: jax.Array  # (B,) valid patches
    beams: Beams  # of one
    alignment: Alignment  # of it


@dataclasses.dataclass(frozen=True)
class Program:
    """A decoder under one attention window."""

    # (B, T, 42, 7) float32 normalised, T a multiple of the patch size, (B,) int32 valid frames, and
    # (B, N) bool, the patches in which nothing is recognised.
    run: Callable[[np.ndarray, np.ndarray, np.ndarray], Recognised]
    chunk: int  # of its window, in patches; 0: full attention
    temperature: float  # of the confidences


class Backend(Protocol):
    """A model that is ready to be used."""

    @property
    def settings(self) -> Settings:
        """What it expects."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses it knows."""

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """Its program for a decoder and a window in patches, made once.

        Raises:
            WSignError: it has no such decoder.
        """

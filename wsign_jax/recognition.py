"""What recognises: the settings and the program of a model, however it is kept."""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.align import Alignment
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.keypoints.joints import ASPECTS
from wsign_jax.positions import POSITIONS

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

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> "Settings":
        """Settings out of a JSON object.

        Args:
            content: the object; a field that is not a setting is an error.
            where: it comes from, for the message.

        Raises:
            WSignError: a field is missing, unknown, of another kind or out of range.
        """
        ranges = {
            "patch_size": (1, 1000),
            "look_ahead": (0, 1000),
            "width": (1, 10_000),
            "head_width": (1, 10_000),
            "chunk": (0, _MOST_PATCHES),
            "left_context": (0, _MOST_PATCHES),
        }
        found: dict[str, Any] = {}
        for name, (low, high) in ranges.items():
            holds, allowed = range(low, high + 1).__contains__, f"a whole number, {low} to {high}"
            found[name] = files.field(content, name, where, int, holds, allowed)
        found["wrist_place"] = files.field(content, "wrist_place", where, bool)
        found["aspect"] = files.field(
            content,
            "aspect",
            where,
            (int, float),
            lambda x: x == 0 or ASPECTS[0] <= x <= ASPECTS[1],
            f"0, or from {ASPECTS[0]:g} to {ASPECTS[1]:g}",
        )
        found["positions"] = files.field(
            content,
            "positions",
            where,
            str,
            POSITIONS.__contains__,
            f"one of {', '.join(POSITIONS)}",
        )
        for name in content:
            if name not in found:
                raise WSignError(f"{where}: {name!r} is none of its fields; leave it out")
        return cls(**found)

    def window(self, chunk: int | None, left_context: int | None) -> tuple[int, int]:
        """Chunk and left context in patches; None takes the model's own.

        Raises:
            WSignError: one is no whole number, or below 0.
        """
        chunk, left_context = checked_window(chunk, left_context)
        return (
            self.chunk if chunk is None else chunk,
            self.left_context if left_context is None else left_context,
        )


def checked_window(chunk: Any, left_context: Any) -> tuple[int | None, int | None]:
    """An attention window in patches, of whatever whole numbers, as Python's own; None stays.

    Raises:
        WSignError: one is no whole number, or below 0.
    """
    return (
        None if chunk is None else as_patches("chunk", chunk),
        None if left_context is None else as_patches("left_context", left_context),
    )


def as_patches(name: str, value: Any) -> int:
    """An argument that is a number of patches, of whatever integer type, as Python's own.

    Raises:
        WSignError: it is no whole number, below 0, or too large to be added up.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 0:
        raise WSignError(f"{name} is {shown(value)}; give patches, a whole number from 0 up")
    if int(value) > _MOST_PATCHES:
        raise WSignError(f"{name} is {shown(value)}; give less, or chunk 0 for full attention")
    return int(value)


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

"""The interface of a model that recognizes: its settings and programs, however it is stored."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.align import Alignment
from wsign_jax.decode.calibration import Calibration
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.decode.unknown import UnknownRule
from wsign_jax.keypoints.joints import ASPECTS
from wsign_jax.model import positions
from wsign_jax.model.positions import POSITIONS
from wsign_jax.recognize.enrollment import Enrolled
from wsign_jax.stream.stream import Stream


@dataclasses.dataclass(frozen=True)
class RecognizerSettings:
    """The input that a model expects, and its default window."""

    patch_size: int  # frames
    look_ahead: int  # of the frontend, in patches
    aspect: float  # of its data set's features, as in config.data.aspect; 0: see dataset.json
    positions: str  # one of `positions.POSITIONS`
    width: int  # D
    head_width: int  # K
    chunk: int  # in patches; 0: full attention
    left_context: int  # in patches

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> "RecognizerSettings":
        """Reads settings from a JSON object.

        Raises:
            WSignError: a field is missing, unknown, of another type or out of range.
        """
        ranges = {
            "patch_size": (1, 1000),
            "look_ahead": (0, 1000),
            "width": (1, 10_000),
            "head_width": (1, 10_000),
            "chunk": (0, positions.MOST_PATCHES),
            "left_context": (0, positions.MOST_PATCHES),
        }
        found: dict[str, Any] = {}
        for name, (low, high) in ranges.items():
            holds, allowed = range(low, high + 1).__contains__, f"a whole number, {low} to {high}"
            found[name] = files.field(content, name, where, int, holds, allowed)
        least, most = ASPECTS
        allowed = f"0, or from {least:g} to {most:g}"
        found["aspect"] = files.field(
            content, "aspect", where, (int, float), lambda x: x == 0 or least <= x <= most, allowed
        )
        holds, allowed = POSITIONS.__contains__, f"one of {', '.join(POSITIONS)}"
        found["positions"] = files.field(content, "positions", where, str, holds, allowed)
        for name in content:
            if name not in found:
                raise WSignError(f"{where}: {name!r} is not one of its fields; leave it out")
        return cls(**found)

    def window(self, chunk: int | None, left_context: int | None) -> tuple[int, int]:
        """Returns chunk and left context in patches; None takes the model's own.

        Raises:
            WSignError: one is not a whole number, or is below 0.
        """
        chunk, left_context = positions.check_window(chunk, left_context)
        return (
            self.chunk if chunk is None else chunk,
            self.left_context if left_context is None else left_context,
        )


class RecognizedBatch(NamedTuple):
    """The result for a batch: the best hypothesis of each row, and where it comes from."""

    logits: jax.Array  # (B, N, V) float32 of CTC
    patches: jax.Array  # (B,) valid patches
    beams: Beams  # of one hypothesis
    alignment: Alignment  # of that hypothesis


@dataclasses.dataclass(frozen=True)
class Program:
    """A decoder under one attention window."""

    # Takes (B, T, 42, 3) float32 positions as on disk, T a multiple of the patch size, (B, T, 2) float32
    # confidences of the hands, (B,) int32 valid frames, and (B, N) bool, the patches without hands,
    # which count as blank.
    run: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], RecognizedBatch]
    chunk: int  # of its window, in patches; 0: full attention
    calibration: Calibration
    unknown: UnknownRule | None  # tells unknown signs; None: not calibrated


class Backend(Protocol):
    """A model that is ready to be used."""

    @property
    def settings(self) -> RecognizerSettings:
        """The input that it expects, and its window."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses it knows."""

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """Returns its program for a decoder and a window in patches; each is made once.

        Raises:
            WSignError: the model has no such decoder.
        """

    def stream(
        self, chunk: int | None, left_context: int | None, decoder: str, endpoint_seconds: float
    ) -> Stream:
        """Begins a stream; None takes the model's own window.

        Raises:
            WSignError: the model cannot stream so.
        """

    def read_enrolled(self) -> Enrolled:
        """Reads the signs that were added to it.

        Raises:
            WSignError: they are damaged, or belong to another model.
        """

    def change_enrolled(self, change: Callable[[Enrolled], Enrolled]) -> Enrolled:
        """Changes them as they are now, and keeps them, whole or not at all.

        Returns:
            What `change` made of them.

        Raises:
            WSignError: the model cannot keep signs, or another process is changing them.
        """

"""Tables of positions in a sequence, computed on the host in float64. Numpy only."""

import numbers
from typing import Any

import numpy as np

from wsign_jax.common.errors import WSignError, shown

ROTARY, SINUSOIDAL = "rotary", "sinusoidal"
POSITIONS = (ROTARY, SINUSOIDAL)
MAX_SINUSOIDAL_PATCHES = 1500
FREQUENCY_BASE = 10_000.0  # of the frequencies, rotary and sinusoidal


def position_tables(kind: str, length: int, width: int, head_width: int) -> tuple[np.ndarray, ...]:
    """Returns the tables that an encoder needs for patches 0 to N - 1.

    `kind` is one of `POSITIONS`, or 'auto', which is rotary if no weights have settled it.

    Returns:
        For rotary positions cosine and sine, (N, K / 2) each; for sinusoidal ones a table (N, D).
    """
    if kind == SINUSOIDAL:
        return (sinusoids(length, width),)
    return rotary_angles(0, length, head_width)


def rotary_angles(first: int, length: int, head_width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of rotary angles (Su et al. 2021, arXiv:2104.09864), for N patches.

    They are computed on the host in float64: position times frequency in float32 drifts within an hour.

    Returns:
        Two (N, K / 2) float32.
    """
    position = np.arange(first, first + length, dtype=np.float64)
    frequency = FREQUENCY_BASE ** (-np.arange(0, head_width, 2) / head_width)
    angle = position[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def stream_angles(
    kind: str, first: int, length: int, head_width: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns a stream's rotary angles of N patches from `first` on; None with sinusoidal positions."""
    return None if kind == SINUSOIDAL else rotary_angles(first, length, head_width)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Returns Whisper's fixed positions: (N, D) float32, a sine half and then a cosine half."""
    half = width // 2
    frequency = np.exp(-np.log(FREQUENCY_BASE) / max(half - 1, 1) * np.arange(half))
    angle = np.arange(length)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


MOST_PATCHES = 2**30 - 1  # the sum of chunk and left context must fit int32


def check_window(chunk: Any, left_context: Any) -> tuple[int | None, int | None]:
    """Returns an attention window in patches as Python integers, of any integer types; None stays.

    Raises:
        WSignError: one is not a whole number, is below 0, or too large.
    """
    return (
        None if chunk is None else as_patches("chunk", chunk),
        None if left_context is None else as_patches("left_context", left_context),
    )


def as_patches(name: str, value: Any) -> int:
    """Returns an argument that is a number of patches, of any integer type, as a Python integer.

    Raises:
        WSignError: it is not a whole number, is below 0, or too large.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 0:
        raise WSignError(f"{name} is {shown(value)}; give patches, a whole number from 0 up")
    if int(value) > MOST_PATCHES:
        raise WSignError(f"{name} is {shown(value)}; give less, or chunk 0 for full attention")
    return int(value)

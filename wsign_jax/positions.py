"""Tables of positions in a sequence, computed on the host in float64. Numpy only."""

import numpy as np

ROTARY, SINUSOIDAL = "rotary", "sinusoidal"
POSITIONS = (ROTARY, SINUSOIDAL)
MAX_SINUSOIDAL_PATCHES = 1500


def tables(kind: str, length: int, width: int, head_width: int) -> tuple[np.ndarray, ...]:
    """What an encoder needs for patches 0 to N - 1.

    Args:
        kind: one of `POSITIONS`, or 'auto', which is rotary where no weights have settled it.
        length: N.
        width: D.
        head_width: K.

    Returns:
        Of rotary positions the cosine and the sine (N, K / 2); of sinusoidal ones a table (N, D).
    """
    if kind == SINUSOIDAL:
        return (sinusoids(length, width),)
    return rotary_angles(0, length, head_width)


def rotary_angles(first: int, length: int, head_width: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the rotary angles (Su et al. 2021, arXiv:2104.09864), base 10,000.

    Computed on the host in float64: position times frequency in float32 drifts within an hour.

    Args:
        first: position of the first patch since the stream began.
        length: N.
        head_width: K, even.

    Returns:
        Two (N, K / 2) float32.
    """
    position = np.arange(first, first + length, dtype=np.float64)
    frequency = 10_000.0 ** (-np.arange(0, head_width, 2) / head_width)
    angle = position[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Whisper's fixed positions: (N, D) float32, sine half and cosine half concatenated."""
    half = width // 2
    frequency = np.exp(-np.log(10_000.0) / max(half - 1, 1) * np.arange(half))
    angle = np.arange(length)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)

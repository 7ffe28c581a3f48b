"""How long training sequences become: drawn on the host, since batches are planned from lengths alone.

Everything else that augmentation draws is drawn on the device; see `train/augment.py`.
"""

import math

import numpy as np
from ml_collections import ConfigDict

_LENGTHS = 0  # the stream of random numbers; the pipeline's order of batches has another


def augmented_frames(
    frames: np.ndarray,
    shortest: np.ndarray,
    longest: int,
    config: ConfigDict,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Draws how many frames every example of a split has in an epoch, counted over all stages.

    Args:
        frames: (n,) true lengths.
        shortest: (n,) the fewest frames in which CTC can still emit each example's labels.
        longest: `data.max_seq_length`.
        config: `data.augment`; only `speed` matters: 0.2 plays at 0.8 to 1.25 of the true pace.
        seed: the run's seed.
        epoch: the epoch.

    Returns:
        (n,) int32; a length that would break a bound is moved to that bound.
    """
    rng = np.random.default_rng([seed, epoch, _LENGTHS])
    bound = np.log1p(-config.speed)
    stretch = np.exp(rng.uniform(bound, -bound, size=len(frames)))
    stretched = np.round(frames * stretch).astype(np.int32)
    return np.clip(stretched, np.minimum(shortest, frames), np.maximum(longest, frames))


def source_length(length: int, speed: float) -> int:
    """The most frames of a sequence that `augmented_frames` fits into a bucket of `length` frames."""
    # Lengths are rounded, so up to half a frame more became `length`; 1e-6 for float's own rounding.
    return max(length, math.floor((length + 0.5) / (1.0 - speed) + 1e-6))

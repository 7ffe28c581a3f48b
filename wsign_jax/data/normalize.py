"""Causal normalization: the same numbers whether a sentence arrives whole or frame by frame.

For each hand, positions become relative to the wrist, and finger velocities relative to the wrist's;
both are measured in hand sizes. The hand's size at frame t is a running mean over the frames up to t.
It never looks ahead, so a stream gets the same numbers as a whole sentence.
"""

import math
from typing import NamedTuple

import numpy as np

from wsign_jax.keypoints import joints

# The n-th seen frame has the weight max(1/n, 1/300): a mean at first, then a 5-second memory.
MEMORY_FRAMES = 300
# Image widths. A hand seen edge-on has almost no length in the picture; never divide by that.
SMALLEST_HAND = 0.02


class NormalizerState(NamedTuple):
    """The state that a stream carries from push to push; one entry per hand, left then right."""

    size: tuple[float, float]  # running mean of the wrist-to-middle-knuckle length, image widths
    seen: tuple[int, int]  # frames in which the hand was seen


INITIAL_STATE = NormalizerState(size=(0.0, 0.0), seen=(0, 0))


def normalize(
    features: np.ndarray, state: NormalizerState = INITIAL_STATE, wrist_place: bool = True
) -> tuple[np.ndarray, NormalizerState]:
    """Normalizes the next frames of a sequence.

    Args:
        features: (T, 42, 7) float32 as on disk.
        state: the state that the call for the frames before returned.
        wrist_place: keeps the wrist's own place and velocity (image widths) in the wrist's row, which
            would be zero once the wrist is subtracted. The place of a sign tells signs apart.

    Returns:
        (T, 42, 7) float32, all zeros if a hand is absent, and the state after the last frame.
    """
    normalized = np.array(features, np.float32, order="C")
    seen = joints.seen_hands(features)
    of_hand = joints.JOINTS_PER_HAND, joints.NUM_FEATURES
    hands = normalized.reshape(-1, len(joints.HANDS), *of_hand)
    # A hand's numbers in a row: numpy is slow if it takes three at a time. The confidence is put back
    # at the end.
    rows = normalized.reshape(-1, len(joints.HANDS), math.prod(of_hand))
    wrists, confidence = hands[:, :, joints.WRIST].copy(), hands[..., joints.CONFIDENCE].copy()
    rows -= np.tile(wrists, joints.JOINTS_PER_HAND)
    knuckles = hands[:, :, joints.MIDDLE_KNUCKLE, joints.POSITION]
    lengths = np.sqrt(np.sum(knuckles**2, axis=-1))
    left, right = (
        _running_size(lengths[:, hand], seen[:, hand], state.size[hand], state.seen[hand])
        for hand in range(len(joints.HANDS))
    )
    rows /= np.stack([left[0], right[0]], axis=1)[..., None]
    hands[..., joints.CONFIDENCE] = confidence
    if wrist_place:
        hands[:, :, joints.WRIST] = wrists
    rows[~seen] = 0.0
    return normalized, NormalizerState((left[1], right[1]), (left[2], right[2]))


def _running_size(
    lengths: np.ndarray, seen: np.ndarray, size: float, count: int
) -> tuple[np.ndarray, float, int]:
    """The running mean of (T,) lengths over the seen frames.

    Plain floats in a loop: each frame's value is the same to the last bit, however the sequence was
    cut into calls. A cumulative sum does not promise that.

    Returns:
        (T,) means, at least `SMALLEST_HAND`, to divide by; the last mean; the frames seen so far.
    """
    counts = count + np.cumsum(seen)
    weights = np.where(seen, 1.0 / np.clip(counts, 1, MEMORY_FRAMES), 0.0)
    sizes = []
    for length, weight in zip(lengths.tolist(), weights.tolist(), strict=True):
        size += (length - size) * weight
        sizes.append(size)
    floored = np.maximum(np.array(sizes, np.float32), np.float32(SMALLEST_HAND))
    return floored, size, int(counts[-1]) if len(counts) else count

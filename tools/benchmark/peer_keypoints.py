"""Augmentation and normalization for the PyTorch peer, whose loader does both in numpy.

The distributions of `wsign_jax/train/augment.py`, and the numbers of `wsign_jax/model/features.py`.
"""

import numpy as np
from ml_collections import ConfigDict

from wsign_jax.keypoints import joints

_JITTER_KNOTS = 15  # frames between them, as in augment.py
_CENTER = np.array([0.5, 0.5, 0.0], np.float32)
# As in features.py.
_MEMORY_FRAMES = 300
_SMALLEST_HAND = 0.02


def augment(
    features: np.ndarray, frames: int, config: ConfigDict, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Changes a sentence (T, 42, 7) as on disk at random.

    Args:
        features: the sentence.
        frames: its new length.
        config: `data.augment`.
        rng: draws.

    Returns:
        (frames, 42, 7) float32, and (42,) bool: the joints to set to 0 after `normalize`.
    """
    times = np.linspace(0.0, len(features) - 1, frames, dtype=np.float32)
    if config.jitter:
        knots = np.arange(0, len(features) + _JITTER_KNOTS, _JITTER_KNOTS)
        offsets = rng.uniform(-config.jitter, config.jitter, size=len(knots))
        times += np.interp(times, knots, offsets).astype(np.float32)
    positions, confidence = _sample(features, np.clip(times, 0.0, len(features) - 1))
    if rng.random() < config.mirror:
        positions = np.concatenate([positions[:, joints.RIGHT], positions[:, joints.LEFT]], axis=1)
        positions[..., 0], confidence = 1.0 - positions[..., 0], confidence[:, ::-1]
    positions = _move(rng, positions, config)
    confidence = np.where(_lost_frames(rng, frames, config)[:, None], 0.0, confidence)
    if config.noise:
        noise = rng.standard_normal(positions.shape, dtype=np.float32)
        positions += np.float32(config.noise) * noise
    augmented = joints.features_from_positions(positions, confidence)
    return augmented, rng.random(joints.NUM_JOINTS) < config.joint_mask


def normalize(features: np.ndarray) -> np.ndarray:
    """Normalizes a sentence (T, 42, 7) as on disk, with the wrists' own places."""
    normalized = np.array(features, np.float32, order="C")
    seen = joints.seen_hands(features)
    hands = normalized.reshape(-1, len(joints.HANDS), joints.JOINTS_PER_HAND, joints.NUM_FEATURES)
    # A hand's numbers in a row: numpy is slow if it takes three at a time. The confidence is put back
    # at the end.
    rows = normalized.reshape(-1, len(joints.HANDS), hands[0, 0].size)
    wrists, confidence = hands[:, :, joints.WRIST].copy(), hands[..., joints.CONFIDENCE].copy()
    rows -= np.tile(wrists, joints.JOINTS_PER_HAND)
    knuckles = hands[:, :, joints.MIDDLE_KNUCKLE, joints.POSITION]
    lengths = np.sqrt(np.sum(knuckles**2, axis=-1))
    weights = np.where(seen, 1.0 / np.clip(np.cumsum(seen, axis=0), 1, _MEMORY_FRAMES), 0.0)
    for hand in range(len(joints.HANDS)):
        size, sizes = 0.0, []
        for length, weight in zip(
            lengths[:, hand].tolist(), weights[:, hand].tolist(), strict=True
        ):
            size += (length - size) * weight
            sizes.append(size)
        rows[:, hand] /= np.maximum(np.array(sizes, np.float32), _SMALLEST_HAND)[:, None]
    hands[..., joints.CONFIDENCE] = confidence
    hands[:, :, joints.WRIST] = wrists
    rows[~seen] = 0.0
    return normalized


def _sample(features: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates positions (T, 42, 3) and confidence (T, 2), but never with an absent hand's zeros."""
    before = np.minimum(times.astype(np.int32), len(features) - 1)
    after = np.minimum(before + 1, len(features) - 1)
    weight = np.repeat((times - before)[:, None], 2, axis=1)
    confidence = features[:, joints.WRISTS, joints.CONFIDENCE]
    both = (confidence[before] > 0) & (confidence[after] > 0)
    weight = np.where(both, weight, np.round(weight))
    sampled = confidence[before] * (1 - weight) + confidence[after] * weight
    positions = features[..., joints.POSITION].reshape(len(features), len(joints.HANDS), -1)
    first = positions[before]
    positions = first + (positions[after] - first) * weight[..., None]
    return positions.reshape(len(times), joints.NUM_JOINTS, 3), sampled


def _move(rng: np.random.Generator, positions: np.ndarray, config: ConfigDict) -> np.ndarray:
    """Turns, scales and shifts around the picture's middle, and tilts each hand around its wrist."""
    angles = rng.uniform(-1, 1, size=3) * (config.rotation, config.tilt, config.tilt)
    scale = np.float32(np.exp(rng.uniform(-1, 1) * np.log1p(config.scale)))
    shift = np.append(rng.uniform(-config.shift, config.shift, size=2), 0.0).astype(np.float32)
    wrists = positions[:, joints.WRISTS]  # (T, 2, 3)
    turn, view = scale * _rotation(angles * (1, 0, 0)), scale * _rotation(angles)
    offsets = wrists @ (turn - view).T + ((_CENTER + shift) - _CENTER @ turn.T)
    return positions @ view.T + np.repeat(offsets, joints.JOINTS_PER_HAND, axis=1)


def _rotation(degrees: np.ndarray) -> np.ndarray:
    """The (3, 3) float32 rotation by roll around z, then pitch around x, then yaw around y."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return (about_y @ about_x @ about_z).astype(np.float32)


def _lost_frames(rng: np.random.Generator, frames: int, config: ConfigDict) -> np.ndarray:
    """Draws the (frames,) bool of lost frames: some stretches lose up to their length in a row."""
    lost, stretch = np.zeros(frames, bool), config.temporal_mask_frames
    starts = np.arange(0, frames, stretch)
    hit = rng.random(len(starts)) < config.temporal_mask
    runs = rng.integers(1, stretch + 1, size=len(starts))
    offsets = rng.integers(0, stretch, size=len(starts))
    for start, run in zip((starts + offsets)[hit], runs[hit], strict=True):
        lost[start : start + run] = True
    return lost

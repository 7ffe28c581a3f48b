"""Seeded augmentation of training sequences, on positions, before velocities and normalization.

Everything is drawn from (seed, epoch, example), so any batch can be made again from those alone. The
new length of a sequence is drawn first and separately, because its bucket depends on it.

Changes to the tracker's output come before velocities are computed: speed, place, size, view, noise,
and frames in which a hand is lost. Joint masking, which hides joints from the model only, comes last.
"""

import numpy as np
from ml_collections import ConfigDict

from wsign_jax.keypoints import joints

# Frames between the knots of the random time warp: slower than a hand, faster than a sign.
_JITTER_KNOTS = 15

_REST = 1  # the stream of random numbers; lengths.py has 0


def augment(
    features: np.ndarray, frames: int, config: ConfigDict, key: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Changes one training example into what another camera, signer or moment might have shown.

    Args:
        features: (T, 42, 7) as on disk, y in image widths.
        frames: its new length, from `lengths.augmented_frames`.
        config: `data.augment`.
        key: (seed, epoch, example).

    Returns:
        (frames, 42, 7) float32, not normalized, and (42,) bool: the joints to hide from the model
        after normalization. (Normalization needs the wrists, so they cannot be hidden before it.)
    """
    rng = np.random.default_rng([*key, _REST])
    times = _sample_times(rng, len(features), frames, config)
    positions, confidence = _sample(features, times)
    if rng.random() < config.mirror:
        positions, confidence = _mirror(positions, confidence)
    positions = _move(rng, positions, config)
    confidence = np.where(_lost_frames(rng, frames, config)[:, None], 0.0, confidence)
    if config.noise:
        noise = rng.standard_normal(positions.shape, dtype=np.float32)
        positions += np.float32(config.noise) * noise
    augmented = joints.features_from_positions(positions, confidence)
    return augmented, rng.random(joints.NUM_JOINTS) < config.joint_mask


def hide_joints(normalized: np.ndarray, hidden: np.ndarray) -> None:
    """Sets the (42,) hidden joints of normalized features (T, 42, 7) to 0 in place, confidence too."""
    normalized[:, hidden] = 0.0


def _sample_times(
    rng: np.random.Generator, frames: int, new_frames: int, config: ConfigDict
) -> np.ndarray:
    """The (new_frames,) increasing times in source frames: evenly spaced, warped by up to `jitter`."""
    times = np.linspace(0.0, frames - 1, new_frames, dtype=np.float32)
    if config.jitter:
        knots = np.arange(0, frames + _JITTER_KNOTS, _JITTER_KNOTS)
        offsets = rng.uniform(-config.jitter, config.jitter, size=len(knots))
        times += np.interp(times, knots, offsets).astype(np.float32)
    return np.clip(times, 0.0, frames - 1)


def _sample(features: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates positions (T, 42, 3) and hand confidence (T, 2) at fractional times.

    If a hand is seen in only one of the two frames around a time, the nearer frame decides. A hand is
    never blended with the zeros of its absence.
    """
    before = np.minimum(times.astype(np.int32), len(features) - 1)
    after = np.minimum(before + 1, len(features) - 1)
    weight = np.repeat((times - before)[:, None], 2, axis=1)
    confidence = features[:, joints.WRISTS, joints.CONFIDENCE]
    both = (confidence[before] > 0) & (confidence[after] > 0)
    weight = np.where(both, weight, np.round(weight))
    sampled = confidence[before] * (1 - weight) + confidence[after] * weight
    # By hands, whose joints lie together: numpy is slow if it takes three numbers at a time.
    positions = features[..., joints.POSITION].reshape(len(features), len(joints.HANDS), -1)
    first = positions[before]
    positions = first + (positions[after] - first) * weight[..., None]
    return positions.reshape(len(times), joints.NUM_JOINTS, 3), sampled


def _mirror(positions: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors the sentence, as a left-handed twin would sign it: flips x, swaps left and right."""
    swapped = np.concatenate([positions[:, joints.RIGHT], positions[:, joints.LEFT]], axis=1)
    swapped[..., 0] = 1.0 - swapped[..., 0]
    return swapped, confidence[:, ::-1]


def _move(rng: np.random.Generator, positions: np.ndarray, config: ConfigDict) -> np.ndarray:
    """Turns, scales and shifts around the picture's middle, and tilts each hand around its wrist."""
    roll, pitch, yaw = np.radians(
        rng.uniform(-1, 1, size=3) * (config.rotation, config.tilt, config.tilt)
    )
    scale = np.exp(rng.uniform(-1, 1) * np.log1p(config.scale))
    shift = np.append(rng.uniform(-config.shift, config.shift, size=2), 0.0).astype(np.float32)
    wrists = positions[:, joints.WRISTS]  # (T, 2, 3)
    turn = np.float32(scale) * _rotation(roll, 0.0, 0.0)
    view = np.float32(scale) * _rotation(roll, pitch, yaw)
    center = np.array([0.5, 0.5, 0.0], np.float32)
    # wrist' = (wrist - center) turn + center + shift, joint' = (joint - wrist) view + wrist'
    offsets = wrists @ (turn - view).T + ((center + shift) - center @ turn.T)
    return positions @ view.T + np.repeat(offsets, joints.JOINTS_PER_HAND, axis=1)


def _rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """The (3, 3) float32 rotation around z, then x, then y, from angles in radians."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return (about_y @ about_x @ about_z).astype(np.float32)


def _lost_frames(rng: np.random.Generator, frames: int, config: ConfigDict) -> np.ndarray:
    """Draws the (frames,) bool of lost frames.

    Each stretch of `temporal_mask_frames` loses 1 to that many frames in a row, with probability
    `temporal_mask`.
    """
    lost = np.zeros(frames, bool)
    stretch = config.temporal_mask_frames
    starts = np.arange(0, frames, stretch)
    hit = rng.random(len(starts)) < config.temporal_mask
    runs = rng.integers(1, stretch + 1, size=len(starts))
    offsets = rng.integers(0, stretch, size=len(starts))
    for start, run in zip((starts + offsets)[hit], runs[hit], strict=True):
        lost[start : start + run] = True
    return lost

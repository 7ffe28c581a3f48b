"""Made-up signs: hands that change from pose to pose."""

import numpy as np

from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames

POSES = 5


def sign(seed, frames=60, noise=0.0, place=(0.5, 0.5, 0.0), size=0.1):
    """A right hand's sign, (T, 42, 7): the same poses at any place, size and speed; noise as asked."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(POSES, joints.JOINTS_PER_HAND, 3))
    poses += noise * np.random.default_rng([seed, frames]).normal(size=poses.shape)
    at = np.linspace(0, POSES - 1, frames)
    before = np.minimum(at.astype(int), POSES - 2)
    weight = (at - before)[:, None, None]
    positions = np.zeros((frames, joints.NUM_JOINTS, 3))
    positions[:, joints.RIGHT] = (1 - weight) * poses[before] + weight * poses[before + 1]
    positions[:, joints.RIGHT] *= size
    positions[:, joints.RIGHT] += place
    seen = np.tile([0.0, 1.0], (frames, 1))
    return joints.features_from_positions(positions, seen).astype(np.float32)


def pause(frames):
    """Frames without a hand."""
    return np.zeros((frames, joints.NUM_JOINTS, joints.NUM_FEATURES), np.float32)


def rest(features, frames):
    """The last frame of a sign, held for so long."""
    return np.repeat(features[-1:], frames, axis=0)


def mirrored(features):
    """The same sign by the other hand."""
    swapped = np.concatenate([features[:, joints.RIGHT], features[:, joints.LEFT]], axis=1)
    swapped[..., 0] = np.where(swapped[..., 6] > 0, 1 - swapped[..., 0], 0)
    return swapped


def as_frames(features):
    """Features as a tracker's frames."""
    return Frames(*joints.positions_and_confidence(features))

"""Keypoints at their own times -> keypoints at 60 Hz."""

import numpy as np

from wsign_jax.keypoints import joints

MAX_GAP_S = 0.15  # a hand that was lost for longer is absent, not somewhere in between
_HALF_FRAME_S = 0.5 / joints.FPS


def resample(
    positions: np.ndarray, present: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Samples a sequence at 60 Hz, by linear interpolation across gaps up to 0.15 s.

    Args:
        positions: (t, 42, 3); ignored where the hand is absent.
        present: (t, 2) bool, left and right hand.
        times: (t,) seconds, increasing; at least one.

    Returns:
        (T, 42, 3) positions, zeros where the hand is absent, and (T, 2) bool; the first frame is at
        times[0], the last half a frame from times[-1] at most.
    """
    times = np.asarray(times, np.float64) - times[0]
    wanted = np.arange(round(times[-1] * joints.FPS) + 1) / joints.FPS
    sampled = np.zeros((len(wanted), *positions.shape[1:]), np.float64)
    seen = np.zeros((len(wanted), 2), bool)
    for side, hand in enumerate(joints.HANDS):
        frames = np.flatnonzero(present[:, side])
        if not len(frames):
            continue
        known = times[frames]
        after = np.searchsorted(known, wanted).clip(0, len(known) - 1)
        before = (after - 1).clip(0)
        gap = known[after] - known[before]
        weight = ((wanted - known[before]) / np.where(gap > 0, gap, 1.0)).clip(0.0, 1.0)
        inside = (wanted >= known[0]) & (wanted <= known[-1]) & (gap <= MAX_GAP_S + 1e-9)
        # In a longer gap, or outside, only what is as good as at the time of a seen frame.
        nearest = np.where(weight < 0.5, before, after)
        close = np.abs(wanted - known[nearest]) < _HALF_FRAME_S
        weight = np.where(inside, weight, nearest == after)[:, None, None]
        first, second = positions[frames[before], hand], positions[frames[after], hand]
        seen[:, side] = inside | close
        sampled[:, hand] = np.where(
            seen[:, side, None, None], first + (second - first) * weight, 0.0
        )
    return sampled, seen

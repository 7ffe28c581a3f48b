"""Brings keypoints from the times of pictures to a constant frame rate, by linear interpolation."""

import bisect
import math
import numbers
from collections.abc import Sequence

import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.keypoints import joints

# Seconds. A hand that was missed for longer is gone: its movement meanwhile is not made up.
MAX_GAP = 0.15
LONGEST = 86400.0  # seconds of a recording; more is another unit, or damage
LONGEST_PAUSE = 3600.0  # seconds between two pictures, which take about one second to work through
_LATEST = 1e10  # seconds by any clock; microseconds are lost in larger numbers
# Times in files are rounded to microseconds at best.
ROUNDING = 1e-6


def find_samples(times: Sequence[float], time: float, fps: float) -> tuple[int, int, float] | None:
    """Finds the samples that make a hand's frame at `time`: (i, j, w) for (1 - w) * s[i] + w * s[j].

    Between two samples no more than `MAX_GAP` apart, the frame is interpolated. Outside, up to half a
    frame from a sample, it is that sample, so that every sample is in some frame. Otherwise the hand is
    absent, and the result is None. Times are increasing seconds.
    """
    after = bisect.bisect_left(times, time)
    before = after - 1
    near = [index for index in (before, after) if 0 <= index < len(times)]
    if not near:
        return None
    nearest = min(near, key=lambda index: abs(times[index] - time))
    distance = abs(times[nearest] - time)
    if distance <= ROUNDING:
        return nearest, nearest, 0.0
    if len(near) == 2 and times[after] - times[before] <= MAX_GAP + ROUNDING:
        return before, after, (time - times[before]) / (times[after] - times[before])
    return (nearest, nearest, 0.0) if distance <= 0.5 / fps + ROUNDING else None


def check_time(time_s: float, last: float) -> None:
    """Refuses a picture's time, in seconds by any clock, if it cannot follow `last`, or -inf.

    Raises:
        WSignError: it is not a number of seconds, is not after the last, or is over an hour after it.
    """
    if not isinstance(time_s, numbers.Real) or not abs(time_s) <= _LATEST:
        raise WSignError(
            f"a picture's time is {shown(time_s)}; give seconds, a number up to {_LATEST:.0e}"
        )
    time_s = float(time_s)
    before = f"a picture's time is {time_s:.6f} s, and the one's before was {last:.6f} s"
    if time_s <= last:
        raise WSignError(f"{before}; times must increase")
    if last > -math.inf and time_s - last > LONGEST_PAUSE:
        raise WSignError(
            f"{before}, more than an hour; give seconds by one clock, or cut there and begin another"
        )


def frame_count(seconds: float, fps: float) -> int:
    """Counts the frames at `fps` of a video whose last picture is `seconds` after its first."""
    return round(seconds * fps) + 1


def resample(
    positions: np.ndarray, present: np.ndarray, times: np.ndarray, fps: float = joints.FPS
) -> tuple[np.ndarray, np.ndarray]:
    """Brings ready-made keypoints to a constant rate.

    Args:
        positions: (t, 42, 3), ignored where the hand is absent.
        present: (t, 2) bool, left and right hand.
        times: (t,) seconds, increasing, at least one.
        fps: frames per second of the result.

    Returns:
        (T, 42, 3) positions, zeros where the hand is absent, and (T, 2) bool. Frame k is at
        times[0] + k / fps; gaps up to `MAX_GAP` are interpolated, longer ones stay.

    Raises:
        WSignError: the times span more than a day, or decrease.
    """
    if not 0 <= times[-1] - times[0] <= LONGEST:
        raise WSignError(
            f"times go from {times[0]:g} to {times[-1]:g} s, more than a day; give increasing seconds"
        )
    count = frame_count(float(times[-1] - times[0]), fps)
    result = np.zeros((count, *positions.shape[1:]), positions.dtype)
    result_present = np.zeros((count, len(joints.HANDS)), bool)
    for hand, rows in enumerate(joints.HANDS):
        (samples,) = np.nonzero(present[:, hand])
        sample_times = times[samples].tolist()
        for frame in range(count):
            found = find_samples(sample_times, float(times[0]) + frame / fps, fps)
            if found is None:
                continue
            before, after = positions[samples[found[0]], rows], positions[samples[found[1]], rows]
            result[frame, rows] = before + found[2] * (after - before)
            result_present[frame, hand] = True
    return result, result_present


class OneEuroFilter:
    """Smooths the joints of one hand: the slower they move, the more.

    Casiez, Roussel, Vogel: 1 Euro Filter, CHI 2012. It looks back only, so it adds no delay but its own
    lag. The cut-off frequency grows with the speed, which keeps the lag short in movement.
    """

    MIN_CUTOFF = 3.0  # Hz, of a hand at rest
    SPEED_CUTOFF = 1.0  # Hz, of the speed itself
    BETA = 10.0  # Hz for every picture width per second

    def __init__(self, fps: float):
        self._fps = fps
        self.reset()

    def reset(self) -> None:
        """Forgets the past: the next frame is taken as it is."""
        self._position: np.ndarray | None = None
        self._velocity: np.ndarray | float = 0.0

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Returns the next frame, (21, 3), smoothed."""
        if self._position is None:
            self._position = positions
            return positions
        velocity = (positions - self._position) * self._fps
        self._velocity += self._weight(self.SPEED_CUTOFF) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        weight = self._weight(self.MIN_CUTOFF + self.BETA * speed)
        self._position = self._position + weight * (positions - self._position)
        return self._position

    def _weight(self, cutoff: np.ndarray | float) -> np.ndarray | float:
        """The weight of a new value in an exponential mean with a cut-off frequency in Hz."""
        return 1.0 / (1.0 + self._fps / (2 * np.pi * cutoff))

"""Turns the hands found in a camera's pictures, as they come, into tracked 60 Hz keypoints."""

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.keypoints.resample import check_time
from wsign_jax.keypoints.track import DELAY, Frames, Tracker

# Seconds. A long pause between two pictures is worked through in parts, none longer than this.
PART = 10.0


class PictureStream:
    """Turns the hands of one picture after another into keypoints, as extraction does for a video."""

    delay = DELAY  # seconds by which keypoints are late

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._last = -math.inf
        self.nan_pictures = 0  # with a hand of NaN or garbage, which was left out

    def push(self, time_s: float, detections: Sequence[Detection]) -> Iterator[Frames]:
        """Takes the hands in the next picture, which was taken at `time_s` seconds by any clock.

        Returns:
            The frames that this makes final, in parts.

        Raises:
            WSignError: `check_time` refuses the time, or a detection is not valid.
        """
        check_time(time_s, self._last)
        time_s = float(time_s)
        for number, detection in enumerate(detections):
            _check(detection, number)
        good = [d for d in detections if joints.plausible(np.append(d.landmarks, d.score)).all()]
        self.nan_pictures += len(good) < len(detections)
        return self._advance(time_s, good)

    def finish(self) -> Frames:
        """Returns the frames up to the last picture that were not returned yet."""
        return self._tracker.finish()

    def _advance(self, time_s: float, detections: Sequence[Detection]) -> Iterator[Frames]:
        # Pictures without a hand in between change nothing after so long a gap.
        while math.isfinite(self._last) and time_s - self._last > 2 * PART:
            self._last += PART
            yield self._tracker.push(self._last, ())
        self._last = time_s
        yield self._tracker.push(time_s, detections)


def _check(detection: Any, number: int) -> None:
    """Raises a `WSignError` if this is not a detection; NaN and garbage in one are allowed here."""
    if not isinstance(detection, Detection):
        raise WSignError(f"hand {number} of a picture is {shown(detection)}; give a Detection")
    landmarks, hand, score = detection
    wanted = (joints.JOINTS_PER_HAND, 3)
    is_array = isinstance(landmarks, np.ndarray) and not isinstance(landmarks, np.ma.MaskedArray)
    if not is_array or landmarks.shape != wanted or landmarks.dtype.kind != "f":
        raise WSignError(
            f"hand {number} of a picture: landmarks are {shown(landmarks)}; give an array of floats "
            f"{wanted}"
        )
    if not isinstance(hand, numbers.Integral) or hand not in (LEFT_HAND, RIGHT_HAND):
        raise WSignError(
            f"hand {number} of a picture: hand is {shown(hand)}; give {LEFT_HAND}, left, or "
            f"{RIGHT_HAND}, right"
        )
    is_garbage = isinstance(score, float | np.floating) and not joints.plausible(score)
    is_sure = isinstance(score, numbers.Real) and 0 <= score <= joints.MOST_CONFIDENCE
    if not is_garbage and not is_sure:
        raise WSignError(
            f"hand {number} of a picture: score is {shown(score)}; it must be from 0 to 1"
        )

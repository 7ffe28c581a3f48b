"""The hands found in a camera's pictures, as they come, to 60 Hz features: tracker and velocities."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from wsign_jax.errors import WSignError
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Detection
from wsign_jax.keypoints.track import DELAY_FRAMES, FeatureStream, Tracker

# Seconds. A pause of hours between two pictures is worked through in parts, none longer than this.
_PART = 10.0
_LONGEST = 86400.0  # seconds of a pause; more is another unit, or a clock that was set


class PictureStream:
    """What extraction does with a video's pictures, one by one."""

    delay = (
        DELAY_FRAMES + 1
    ) / joints.FPS  # seconds by which features are late; 1 for the velocity

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._features = FeatureStream()
        self._last: float | None = None
        self.nan_pictures = 0  # that had a hand with NaN or garbage, which was then left out

    def push(self, time_s: float, detections: Sequence[Detection]) -> Iterator[np.ndarray]:
        """Takes the hands in the next picture.

        Args:
            time_s: when it was taken, by any clock.
            detections: the hands.

        Returns:
            The features that this makes final, in parts of (n, 42, 7) float32.

        Raises:
            WSignError: the time is no number, not after the last picture's, or a day after it.
        """
        if not math.isfinite(time_s):
            raise WSignError(f"a picture's time is {time_s}; give seconds")
        if self._last is not None and time_s <= self._last:
            raise WSignError(
                f"a picture's time is {time_s:.6f} s, and the one's before was {self._last:.6f} s; "
                "times must increase"
            )
        if self._last is not None and time_s - self._last > _LONGEST:
            raise WSignError(
                f"a picture's time is {time_s:.6f} s, and the one's before was {self._last:.6f} s, "
                "more than a day; give seconds by one clock, or begin another stream"
            )
        good = [d for d in detections if joints.plausible(np.append(d.landmarks, d.score)).all()]
        self.nan_pictures += len(good) < len(detections)
        return self._advance(time_s, good)

    def finish(self) -> np.ndarray:
        """(n, 42, 7) float32: the frames up to the last picture that were not returned."""
        waiting = self._features.push(self._tracker.finish())
        return np.concatenate([waiting, self._features.finish()])

    def _advance(self, time_s: float, detections: Sequence[Detection]) -> Iterator[np.ndarray]:
        # Pictures without a hand in between change nothing after so long a gap.
        while self._last is not None and time_s - self._last > 2 * _PART:
            self._last += _PART
            yield self._features.push(self._tracker.push(self._last, ()))
        self._last = time_s
        yield self._features.push(self._tracker.push(time_s, detections))

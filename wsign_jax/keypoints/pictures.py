"""The hands found in a camera's pictures, as they come, to 60 Hz features: tracker and velocities."""

import math
import numbers
from collections.abc import Iterator, Sequence

import numpy as np

from wsign_jax.errors import WSignError
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.keypoints.track import DELAY_FRAMES, FeatureStream, Tracker, check_time

# Seconds. A pause of hours between two pictures is worked through in parts, none longer than this.
_PART = 10.0


class PictureStream:
    """What extraction does with a video's pictures, one by one."""

    delay = (
        DELAY_FRAMES + 1
    ) / joints.FPS  # seconds by which features are late; 1 for the velocity

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._features = FeatureStream()
        self._last = -math.inf  # time of the last picture
        self.nan_pictures = 0  # that had a hand with NaN or garbage, which was then left out

    def push(self, time_s: float, detections: Sequence[Detection]) -> Iterator[np.ndarray]:
        """Takes the hands in the next picture.

        Args:
            time_s: when it was taken, by any clock.
            detections: the hands.

        Returns:
            The features that this makes final, in parts of (n, 42, 7) float32.

        Raises:
            WSignError: the time is no number, not after the last picture's, or a day after it; or what
                is given is no hand.
        """
        if not isinstance(time_s, numbers.Real):
            raise WSignError(f"a picture's time is {time_s!r}; give seconds")
        check_time(float(time_s), self._last)
        for detection in detections:
            _check_hand(detection)
        good = [d for d in detections if joints.plausible(np.append(d.landmarks, d.score)).all()]
        self.nan_pictures += len(good) < len(detections)
        return self._advance(float(time_s), good)

    def finish(self) -> np.ndarray:
        """(n, 42, 7) float32: the frames up to the last picture that were not returned."""
        waiting = self._features.push(self._tracker.finish())
        return np.concatenate([waiting, self._features.finish()])

    def _advance(self, time_s: float, detections: Sequence[Detection]) -> Iterator[np.ndarray]:
        # Pictures without a hand in between change nothing after so long a gap.
        while time_s - self._last > 2 * _PART and self._last > -math.inf:
            self._last += _PART
            yield self._features.push(self._tracker.push(self._last, ()))
        self._last = time_s
        yield self._features.push(self._tracker.push(time_s, detections))


def _check_hand(detection: Detection) -> None:
    landmarks, hand, score = detection
    shape, wanted = np.shape(landmarks), (joints.JOINTS_PER_HAND, 3)
    if shape != wanted or np.asarray(landmarks).dtype.kind not in "fiu":
        raise WSignError(f"a hand's landmarks are of shape {shape}; give numbers of shape {wanted}")
    if hand not in (LEFT_HAND, RIGHT_HAND) or not isinstance(score, numbers.Real):
        raise WSignError(f"a hand is {hand!r} with score {score!r}; give 0 or 1, and a number")

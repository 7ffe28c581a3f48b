"""Calibrates a decoder's glosses on validation: how sure they are, and when they were signed."""

from typing import NamedTuple

import numpy as np

from wsign_jax.decode import confidence

LONGEST_SIGN = 60.0  # seconds by which a sign may lie away from where CTC finds it


class Calibration(NamedTuple):
    """Turns what CTC says of glosses into confidences and times that validation has shown to be right.

    CTC is sure of a sign for a patch or two, and where in the sign they lie differs from run to run. So
    a sign lies around the first of them, as it does on average.
    """

    temperature: float = 1.0  # of the confidences
    # Seconds from the beginning of the first patch to the sign's start and end. None: the sign is where
    # CTC is sure of it.
    sign_start: float | None = None
    sign_end: float | None = None

    def confidences(self, raw: np.ndarray) -> np.ndarray:
        """Returns the shares of glosses that are right among those of a raw confidence."""
        return confidence.calibrate(raw, self.temperature)

    def times(self, spans: np.ndarray) -> np.ndarray:
        """Returns (..., 2) starts and ends of signs in seconds, by those of CTC's spans."""
        if self.sign_start is None or self.sign_end is None:
            return spans
        return np.maximum(spans[..., :1] + np.array([self.sign_start, self.sign_end]), 0.0)


NOT_CALIBRATED = Calibration()


def fit_sign_times(found: np.ndarray, true: np.ndarray) -> tuple[float, float] | None:
    """Returns the median of the signs' starts and ends after the first patch; None without any.

    `found` (n, 2) are CTC's spans of right glosses, `true` (n, 2) their signs', both in seconds.
    """
    if not len(found):
        return None
    start, end = np.median(true - found[:, :1], axis=0).tolist()
    return start, end

"""Calibrates confidences with validation data, and measures how far off they are. Numpy only."""

from typing import NamedTuple

import numpy as np

# Bounds of a temperature. Without them, a few examples that happen to be separable would make all
# confidences 0 or 1, or 0.5.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 10.0
# A confidence's least distance to 0 and 1 in the fit, so that no mistake costs infinity.
_CLOSEST = 1e-6


def fit_temperature(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Fits the temperature T for which sigmoid(logit(confidence) / T) is the likeliest.

    `confidences` (n,) are in [0, 1]; `correct` (n,) says which were right.

    This is temperature scaling (Guo et al. 2017, arXiv:1706.04599, section 4.2) of one confidence
    instead of all classes. The negative log likelihood is convex in 1 / T, so its slope is bisected.

    Returns:
        T from 0.1 to 10; 1, which changes nothing, if n is 0 or all are right or all are wrong.
    """
    if not correct.any() or correct.all():
        return 1.0
    clipped = np.clip(confidences, _CLOSEST, 1 - _CLOSEST)
    logits = np.log(clipped) - np.log1p(-clipped)

    def slope(inverse: float) -> float:
        return float(np.sum(logits * (calibrate(clipped, 1 / inverse) - correct)))

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    for _ in range(60):  # halves the interval to the precision of float64
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(np.clip(2 / (low + high), MIN_TEMPERATURE, MAX_TEMPERATURE))


def calibrate(confidences: np.ndarray, temperature: float) -> np.ndarray:
    """Returns sigmoid(logit(confidence) / temperature) of any shape in float64; 0, 0.5 and 1 stay.

    Raises:
        ValueError: the temperature is outside [0.1, 10].
    """
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise ValueError(f"temperature {temperature} is outside [0.1, 10]; fit it again")
    confidences = np.asarray(confidences, np.float64)
    right = confidences ** (1 / temperature)
    wrong = (1 - confidences) ** (1 / temperature)
    return right / (right + wrong)


class Reliability(NamedTuple):
    """Confidences in bins [a, b) of equal width; the last bin holds 1 as well."""

    counts: np.ndarray  # (bins,) int64
    confidences: np.ndarray  # (bins,) float64 mean in each bin, 0 in an empty one
    accuracies: np.ndarray  # (bins,) float64 share that was right, 0 in an empty one


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Returns the numbers of a reliability diagram.

    `confidences` (n,) are in [0, 1]; `correct` (n,) says which were right.
    """
    bin_of = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    some = np.maximum(counts, 1)
    return Reliability(
        counts,
        np.bincount(bin_of, confidences, minlength=bins) / some,
        np.bincount(bin_of, correct, minlength=bins) / some,
    )


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Returns the mean distance of accuracy and confidence over the bins, weighted by their counts.

    Guo et al. 2017, section 2. It is 0 without confidences.
    """
    table = reliability(confidences, correct, bins)
    gaps = np.abs(table.accuracies - table.confidences)
    return float(np.sum(table.counts * gaps) / max(np.sum(table.counts), 1))

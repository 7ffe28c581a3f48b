"""How well unknown signs are told: false rejects against false accepts, over thresholds."""

from typing import Any

import numpy as np

POINTS = 100  # of a curve, at most


def rejection_curve(known: np.ndarray, impostors: np.ndarray, below: float) -> dict[str, Any]:
    """Returns the figures of a rule by which a sign is unknown if its score is below a threshold.

    Args:
        known: (n,) scores of right glosses.
        impostors: (m,) scores of glosses that came out for signs whose gloss was held out.
        below: the stored threshold.

    Returns:
        threshold, false_rejects and false_accepts at it, known and impostors (their numbers), and curve:
        the same three fields at up to `POINTS` thresholds, in their order. A share of nothing is 0.
    """
    scores = np.concatenate([known, impostors])
    places = np.unique(scores[np.isfinite(scores)])
    if len(places) > POINTS:
        places = np.quantile(places, np.linspace(0, 1, POINTS))
    return {
        **_shares(known, impostors, below),
        "known": len(known),
        "impostors": len(impostors),
        "curve": [_shares(known, impostors, float(place)) for place in places],
    }


def _shares(known: np.ndarray, impostors: np.ndarray, below: float) -> dict[str, float]:
    return {
        "threshold": below,
        "false_rejects": float(np.mean(known < below)) if len(known) else 0.0,
        "false_accepts": float(np.mean(impostors >= below)) if len(impostors) else 0.0,
    }

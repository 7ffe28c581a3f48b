import numpy as np

from wsign_jax.report import rejection


def test_false_rejects_and_false_accepts_over_thresholds():
    found = rejection.rejection_curve(np.array([1.0, 2, 3, np.inf]), np.array([-np.inf, 2.5]), 2.2)
    assert found == {
        "threshold": 2.2, "false_rejects": 0.5, "false_accepts": 0.5, "known": 4, "impostors": 2,
        "curve": [
            {"threshold": 1.0, "false_rejects": 0.0, "false_accepts": 0.5},
            {"threshold": 2.0, "false_rejects": 0.25, "false_accepts": 0.5},
            {"threshold": 2.5, "false_rejects": 0.5, "false_accepts": 0.5},
            {"threshold": 3.0, "false_rejects": 0.5, "false_accepts": 0.0},
        ],
    }  # fmt: skip
    many = rejection.rejection_curve(np.arange(1000.0), np.zeros(0), 0.0)
    assert len(many["curve"]) == rejection.POINTS and many["curve"][-1]["threshold"] == 999
    assert many["false_accepts"] == 0

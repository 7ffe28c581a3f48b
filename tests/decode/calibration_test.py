import numpy as np
import pytest

from wsign_jax.decode.calibration import NOT_CALIBRATED, Calibration, fit_sign_times


def test_signs_lie_around_the_first_patch_as_they_do_on_average():
    found = np.array([[1.0, 1.1], [2.0, 2.2], [3.0, 3.1]])
    true = np.array([[0.6, 1.3], [1.5, 2.1], [2.7, 3.2]])  # -0.4, -0.5, -0.3 and 0.3, 0.1, 0.2
    times = fit_sign_times(found, true)
    assert times == pytest.approx((-0.4, 0.2))
    shifted = Calibration(1.0, *times).times(np.array([[0.1, 0.9], [5.0, 5.1]]))
    np.testing.assert_allclose(shifted, [[0.0, 0.3], [4.6, 5.2]])
    assert fit_sign_times(found[:0], true[:0]) is None
    np.testing.assert_array_equal(NOT_CALIBRATED.times(found), found)


def test_a_temperature_of_two_halves_the_log_odds():
    np.testing.assert_allclose(Calibration(2.0).confidences(np.array([0.9])), [0.75])

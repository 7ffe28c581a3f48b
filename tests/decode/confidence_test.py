import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.decode import confidence


def drawn(true_temperature, count=20_000):
    """Confidences of which those that mean what they say are at a temperature, and what was right."""
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.02, 0.98, size=count)
    return confidences, rng.random(count) < confidence.calibrate(confidences, true_temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_was_drawn_from(temperature):
    confidences, correct = drawn(temperature)
    fitted = confidence.fit_temperature(confidences, correct)
    assert fitted == pytest.approx(temperature, rel=0.05)
    after = confidence.calibrate(confidences, fitted)
    assert confidence.expected_calibration_error(after, correct) < 0.015
    if temperature != 1.0:
        assert confidence.expected_calibration_error(confidences, correct) > 0.08


def test_temperatures_by_hand():
    # At 0.9, three of four were right: sigmoid(log(9) / T) = 3 / 4, so T = log(9) / log(3) = 2.
    assert confidence.fit_temperature(
        np.full(4, 0.9), np.array([True, True, False, True])
    ) == pytest.approx(2.0)
    # Of those at 1, which counts as 1 - 1e-6, nine of ten were right: T = log(999999) / log(9).
    assert confidence.fit_temperature(np.ones(10), np.arange(10) > 0) == pytest.approx(6.287709)


def test_calibration_by_hand():
    # 0.9 is at odds of 9 to 1, at a temperature of 2 of 3 to 1, at 0.5 of 81 to 1.
    assert confidence.calibrate(np.array([0.9]), 2.0) == pytest.approx([0.75])
    assert confidence.calibrate(np.array([0.9, 0.1]), 0.5) == pytest.approx([81 / 82, 1 / 82])


@pytest.mark.parametrize(
    ("confidences", "correct", "expected"),
    [
        ([], [], 1.0),
        ([0.9, 0.2, 1.0], [True] * 3, 1.0),
        ([0.9, 0.2, 0.0], [False] * 3, 1.0),
        ([0.6, 0.6, 0.4], [True, True, False], 0.1),  # separable: the sharpest
        ([0.9, 0.8, 0.1], [False, False, True], 10.0),  # worse than chance: the dullest
        ([1.0, 0.0, 1.0, 1.0], [False, True, True, True], 10.0),
    ],
)
def test_the_bounds(confidences, correct, expected):
    found = confidence.fit_temperature(np.array(confidences), np.array(correct, bool))
    assert found == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 10))
def test_calibration_keeps_the_order_and_the_range(one, other, temperature):
    low, high = confidence.calibrate(np.array(sorted([one, other])), temperature)
    assert 0 <= low <= high <= 1


def test_what_calibration_leaves_alone():
    fixed = np.array([[0.0, 0.5, 1.0]])
    np.testing.assert_allclose(confidence.calibrate(fixed, 3.0), fixed)
    some = np.array([0.1, 0.7])
    np.testing.assert_allclose(confidence.calibrate(some, 1.0), some)


def test_a_reliability_table_by_hand():
    confidences = np.array([0.0, 0.4, 0.5, 0.6, 0.7, 1.0])
    correct = np.array([False, True, False, True, True, True])
    table = confidence.reliability(confidences, correct, bins=2)
    np.testing.assert_array_equal(table.counts, [2, 4])
    np.testing.assert_allclose(table.confidences, [0.2, 0.7])
    np.testing.assert_allclose(table.accuracies, [0.5, 0.75])
    error = confidence.expected_calibration_error(confidences, correct, bins=2)
    assert error == pytest.approx((2 * 0.3 + 4 * 0.05) / 6)


def test_perfect_hopeless_and_no_confidences():
    error = confidence.expected_calibration_error
    assert error(np.array([1.0, 1.0, 0.0]), np.array([True, True, False])) == 0.0
    assert error(np.array([1.0, 0.0]), np.array([False, True])) == 1.0
    assert error(np.zeros(0), np.zeros(0, bool)) == 0.0
    assert confidence.reliability(np.zeros(0), np.zeros(0, bool)).counts.tolist() == [0] * 15


def test_a_temperature_out_of_range_is_an_error():
    with pytest.raises(ValueError, match=r"temperature 0.0 is outside \[0.1, 10\]"):
        confidence.calibrate(np.zeros(1), 0.0)

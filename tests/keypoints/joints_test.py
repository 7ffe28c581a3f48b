import numpy as np
import pytest

from wsign_jax.keypoints import joints


@pytest.mark.parametrize(("fps", "expected"), [(10, [10, 20, 40, 50]), (None, [60, 120, 240, 300])])
def test_velocities_by_hand(fps, expected):
    positions = np.zeros((4, 42, 3))
    positions[:, 0, 0] = positions[:, 21 + 20, 2] = [0, 1, 4, 9]
    rate = {} if fps is None else {"fps": fps}
    features = joints.features_from_positions(positions, np.ones((4, 2)), **rate)
    np.testing.assert_allclose(features[:, 0, 3], expected)
    np.testing.assert_allclose(features[:, 41, 5], expected)
    assert np.count_nonzero(features[..., joints.VELOCITY]) == 2 * 4


def test_y_in_widths_by_hand():
    features = np.arange(1.0, 8.0) * np.ones((2, 42, 1))
    expected = [1.0, 2.0 / 1.6, 3.0, 4.0, 5.0 / 1.6, 6.0, 7.0]
    np.testing.assert_allclose(joints.in_widths(features, 1.6)[1, 41], expected)
    assert features[1, 41].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert joints.in_widths(features, 1.0) is features


def test_velocity_is_zero_next_to_absence():
    positions = np.random.default_rng(0).random((10, 42, 3))
    confidence = np.ones((10, 2))
    confidence[4, 0] = 0.0
    features = joints.features_from_positions(positions, confidence)
    left, right = features[:, joints.LEFT], features[:, joints.RIGHT]
    np.testing.assert_array_equal(left[3:6, :, joints.VELOCITY], 0.0)
    assert (np.abs(left[2, :, joints.VELOCITY]) > 0).any()
    assert (np.abs(right[4, :, joints.VELOCITY]) > 0).any()


def test_an_absent_hand_is_all_zeros():
    confidence = np.array([[0.0, 0.7]])
    features = joints.features_from_positions(np.full((1, 42, 3), 0.5), confidence)
    np.testing.assert_array_equal(features[0, joints.LEFT], 0.0)
    np.testing.assert_allclose(features[0, joints.RIGHT, joints.CONFIDENCE], 0.7)
    np.testing.assert_array_equal(joints.seen_hands(features), [[False, True]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_no_tracker_says_is_not_plausible(dtype):
    numbers = np.array([0.0, -1.5, 60000.0, np.nan, np.inf, -np.inf], dtype)
    assert joints.plausible(numbers).tolist() == [True, True, True, False, False, False]
    assert joints.plausible(np.array([-1e30, 0.5, 1e6, 1.01e6])).tolist() == [
        False,
        True,
        True,
        False,
    ]

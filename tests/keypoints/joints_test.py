import numpy as np
import pytest

from wsign_jax.keypoints import joints


def test_velocity_is_the_central_difference_in_units_per_second():
    positions = np.zeros((9, 42, 3))
    positions[:, :, 0] = 0.5 + 0.01 * np.arange(9)[:, None]  # 0.01 widths a frame
    features = joints.features_from_positions(positions, np.ones((9, 2)))
    np.testing.assert_allclose(features[..., 3], 0.6, rtol=1e-5)
    np.testing.assert_array_equal(features[..., 4:6], 0.0)


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
    assert joints.plausible(np.array([-1e30, 0.5])).tolist() == [False, True]

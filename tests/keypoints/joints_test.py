import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
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
    extremes = np.array([-1e30, 0.5, 1e6, 1.01e6])
    assert joints.plausible(extremes).tolist() == [False, True, True, False]


def test_a_hand_is_plausible_where_all_its_numbers_are():
    features = np.zeros((3, 42, 7))
    features[1, 3, 2], features[2, 41, 6] = np.nan, 1e30
    expected = [[True, True], [False, True], [True, False]]
    np.testing.assert_array_equal(joints.plausible_hands(features), expected)
    np.testing.assert_array_equal(joints.plausible_hands(features[..., :3])[2], [True, True])
    assert joints.plausible_hands(features[:0]).shape == (0, 2)


def with_confidence(value):
    features = np.zeros((5, 42, 7))
    features[2, 30, 6] = value
    return features


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "x: object, not floats; give keypoints"),
        ([[0.0], [0.0, 0.0]], "x: not an array of floats"),
        (np.zeros((5, 42, 7), int), "x: int64, not floats"),
        (np.zeros((5, 42, 7), bool), "x: bool, not floats"),
        (np.zeros((5, 42, 7), complex), "x: complex128, not floats"),
        (np.zeros((5, 42, 7), "datetime64[s]"), r"x: datetime64\[s\], not floats"),
        (np.zeros((5, 42, 7), str), "x: <U1, not floats"),
        (np.zeros((5, 42, 7), [("x", float)]), "not floats"),
        (np.ma.zeros((5, 42, 7)), "x: a masked array; give a plain one"),
        (np.zeros((42, 7)), r"x: shape \(42, 7\) is not \(T, 42, 7\)"),
        (np.zeros((5, 42, 6)), r"x: shape \(5, 42, 6\) is not"),
        (with_confidence(-0.5), r"x: confidence -0\.5 in frame 2, joint 30; it must be from 0 to 1"),
        (with_confidence(50.0), "x: confidence 50 in frame 2"),
    ],
)  # fmt: skip
def test_what_is_no_features_is_one_line(value, message):
    with pytest.raises(WSignError, match=message) as error:
        joints.as_features(value, "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.0000001, np.nan, np.inf, 1e300])
def test_features_keep_nan_and_garbage(value):
    found = joints.as_features(with_confidence(value), "x")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found[2, 30, 6], np.float32(value))
    assert found.dtype == np.float32

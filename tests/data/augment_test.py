import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import recorded
from tests.helpers.recorded import switches
from wsign_jax.data import augment
from wsign_jax.keypoints import joints

FEATURES = random_features(np.random.default_rng(0), 120)
KEY = (42, 3, 7)
TIP = 8  # of the left hand's index finger; the right hand's joints come 21 later


class Drawn:
    """A random generator whose numbers are known."""

    def __init__(self, uniform=(), random=(), integers=()):
        # Uniform ones from -1 at the lower bound to 1 at the upper.
        self._uniform, self._random, self._integers = (
            iter(numbers) for numbers in (uniform, random, integers)
        )

    def uniform(self, low, high, size=1):
        places = np.array([next(self._uniform) for _ in range(size)])
        return (low + high) / 2 + (high - low) / 2 * places

    def random(self, size):
        return np.array([next(self._random) for _ in range(size)])

    def integers(self, low, high, size):
        drawn = np.array([next(self._integers) for _ in range(size)])
        assert low <= drawn.min() and drawn.max() == high - 1
        return drawn


def test_all_off_changes_nothing():
    same, hidden = augment.augment(FEATURES, 120, switches(), KEY)
    np.testing.assert_allclose(same, FEATURES, atol=2e-5)
    assert not hidden.any()


ONE_EACH = {
    "jitter": 2.0, "rotation": 20.0, "tilt": 20.0, "scale": 0.3, "shift": 0.1, "mirror": 1.0,
    "noise": 0.005, "temporal_mask": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_EACH)
def test_each_switch_does_something_and_can_be_repeated_from_its_key(name):
    config = switches(**{name: ONE_EACH[name]})
    first, _ = augment.augment(FEATURES, 120, config, KEY)
    again, _ = augment.augment(FEATURES, 120, config, KEY)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - FEATURES).max() > 1e-3
    if name != "mirror":
        for other_key in ((43, 3, 7), (42, 4, 7), (42, 3, 8)):
            other, _ = augment.augment(FEATURES, 120, config, other_key)
            assert (other != first).any(), f"{other_key} gave the same as {KEY}"


def test_velocities_are_those_of_the_new_positions():
    config = switches(rotation=20.0, scale=0.3, noise=0.005, temporal_mask=0.3)
    new, _ = augment.augment(FEATURES, 90, config, KEY)
    confidence = new[:, joints.WRISTS, joints.CONFIDENCE]
    expected = joints.features_from_positions(new[..., joints.POSITION], confidence)
    np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-3)


def test_mirroring_by_hand():
    positions = np.zeros((1, 42, 3))
    positions[0, 0], positions[0, 21 + 4] = [0.2, 0.3, 0.1], [0.9, 0.6, -0.2]
    mirrored, confidence = augment._mirror(positions, np.array([[0.7, 0.0]]))
    np.testing.assert_allclose(mirrored[0, [21, 4]], [[0.8, 0.3, 0.1], [0.1, 0.6, -0.2]])
    np.testing.assert_array_equal(confidence, [[0.0, 0.7]])


@pytest.mark.parametrize(
    ("offsets", "times"),  # of the knots 0, 15, 30 and 45 in frames; of the frames 0, 10, 20 and 30
    [
        ([0.0, 0.0, 0.0, 0.0], [0, 10, 20, 30]),
        ([3.0, 0.0, -3.0, 0.0], [3, 11, 19, 27]),
        ([-3.0, 0.0, 3.0, 0.0], [0, 9, 21, 30]),  # -3 and 33 lie outside
    ],
)
def test_times_by_hand(offsets, times):
    drawn = Drawn(uniform=np.array(offsets) / 4.0)
    found = augment._sample_times(drawn, 31, 16, switches(jitter=4.0))
    np.testing.assert_allclose(found[[0, 5, 10, 15]], times, atol=1e-5)


def test_samples_by_hand():
    features = np.zeros((3, 42, 7))
    features[:2, :21, 0], features[:2, :21, 6] = [[0.1], [0.3]], [[0.8], [0.4]]
    features[:, 21:, 1], features[:, 21:, 6] = [[0.5], [0.7], [0.8]], 1.0
    positions, confidence = augment._sample(features, np.array([0.25, 1.25, 1.75, 2.0]))
    # A hand that is gone in the third frame is never blended with its absence.
    expected = np.zeros((4, 42, 3))
    expected[:2, :21, 0] = [[0.15], [0.3]]
    expected[:, 21:, 1] = [[0.55], [0.725], [0.775], [0.8]]
    np.testing.assert_allclose(positions, expected, atol=1e-7)
    np.testing.assert_allclose(confidence, [[0.7, 1], [0.4, 1], [0, 1], [0, 1]], atol=1e-7)


# Wrist and index tip of the left hand, then of the right.
POINTS = [[0.6, 0.5, 0.0], [0.7, 0.5, 0.2], [0.5, 0.3, 0.1], [0.5, 0.4, 0.1]]


@pytest.mark.parametrize(
    ("drawn", "expected"),  # roll, pitch, yaw, scale, shift in x and y: shares of the most
    [
        # A quarter turn about the picture's middle: right goes to where down was, down to left.
        (
            [1, 0, 0, 0, 0, 0],
            [[0.5, 0.6, 0.0], [0.5, 0.7, 0.2], [0.7, 0.5, 0.1], [0.6, 0.5, 0.1]],
        ),
        # Quarter turns of each hand about its wrist: (x, y, z) to (x, -z, y), to (z, y, -x).
        (
            [0, 0.5, 0, 0, 0, 0],
            [[0.6, 0.5, 0.0], [0.7, 0.3, 0.0], [0.5, 0.3, 0.1], [0.5, 0.3, 0.2]],
        ),
        (
            [0, 0, 0.5, 0, 0, 0],
            [[0.6, 0.5, 0.0], [0.8, 0.5, -0.1], [0.5, 0.3, 0.1], [0.5, 0.4, 0.1]],
        ),
        # All three, in this order.
        (
            [1, 0.5, 0.5, 0, 0, 0],
            [[0.5, 0.6, 0.0], [0.6, 0.4, 0.0], [0.7, 0.5, 0.1], [0.7, 0.5, 0.2]],
        ),
        # Twice and half as large.
        (
            [0, 0, 0, 1, 0, 0],
            [[0.7, 0.5, 0.0], [0.9, 0.5, 0.4], [0.5, 0.1, 0.2], [0.5, 0.3, 0.2]],
        ),
        (
            [0, 0, 0, -1, 0, 0],
            [[0.55, 0.5, 0.0], [0.6, 0.5, 0.1], [0.5, 0.4, 0.05], [0.5, 0.45, 0.05]],
        ),
        (
            [0, 0, 0, 0, 0.5, -1],
            [[0.7, 0.3, 0.0], [0.8, 0.3, 0.2], [0.6, 0.1, 0.1], [0.6, 0.2, 0.1]],
        ),
        # Turned, tilted, twice as large, then shifted.
        (
            [1, 0.5, 0, 1, 0.5, 0],
            [[0.6, 0.7, 0.0], [0.6, 0.3, 0.2], [1.0, 0.5, 0.2], [0.8, 0.5, 0.2]],
        ),
    ],
)
def test_views_by_hand(drawn, expected):
    places = [0, TIP, 21, 21 + TIP]
    positions = np.zeros((1, 42, 3), np.float32)
    positions[0, places] = POINTS
    config = switches(rotation=90.0, tilt=180.0, scale=1.0, shift=0.2)
    moved = augment._move(Drawn(uniform=drawn), positions, config)
    np.testing.assert_allclose(moved[0, places], expected, atol=1e-6)


def test_lost_stretches_by_hand():
    # Of 25 frames the first and third stretch of ten are hit: 3 frames from 8 on, all from 22 on.
    drawn = Drawn(random=[0.1, 0.2, 0.1], integers=[3, 5, 10, 8, 9, 2])
    lost = augment._lost_frames(drawn, 25, switches(temporal_mask=0.15))
    assert np.flatnonzero(lost).tolist() == [8, 9, 10, 22, 23, 24]


def test_noise_has_the_size_asked_for_and_only_where_the_hand_is_seen():
    new, _ = augment.augment(FEATURES, 120, switches(noise=0.005), KEY)
    seen = FEATURES[..., joints.CONFIDENCE] > 0
    difference = (new - FEATURES)[..., joints.POSITION]
    assert np.std(difference[seen]) == pytest.approx(0.005, rel=0.05)
    np.testing.assert_array_equal(difference[~seen], 0.0)


def test_hidden_joints_are_a_share_of_all_and_become_zero():
    config = switches(joint_mask=0.15)
    masks = np.stack([augment.augment(FEATURES, 120, config, (0, 0, i))[1] for i in range(200)])
    assert masks.mean() == pytest.approx(0.15, abs=0.01)
    features = FEATURES.copy()
    augment.hide_joints(features, masks[0])
    np.testing.assert_array_equal(features[:, masks[0]], 0.0)
    np.testing.assert_array_equal(features[:, ~masks[0]], FEATURES[:, ~masks[0]])


def test_what_was_recorded_is_what_comes_out():
    stored, anew = np.load(recorded.FILE), recorded.record()
    assert set(stored) == set(anew)
    for name, array in anew.items():
        np.testing.assert_allclose(stored[name], array, rtol=1e-4, atol=1e-4, err_msg=name)

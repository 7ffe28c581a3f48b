import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import random_features
from wsign_jax.data import normalize

# Middle knuckle and index tip, as seen from the wrist, and what is wanted of them.
WRIST, KNUCKLE, TIP = 0, 9, 8
RIGHT_WRIST = [0.5, 0.6, 0.1, 0.3, 0.0, -0.3]
KNUCKLES = [[0.03, -0.04, 0.0], [0.0, 0.06, 0.08], [0.1, 0.1, 0.05]]  # 0.05, 0.1 and 0.15 long
RIGHT_TIP = np.array([0.15, -0.075, 0.03, 0.3, 0.15, 0.0])
LEFT_TIP = np.array([0.02, 0.01, 0.0, 0.0, 0.0, 0.1])


def three_frames():
    """(3, 42, 7): the left hand is not seen at first, then 0.01 and 0.05 long."""
    features = np.zeros((3, 42, 7))
    features[:, 21:, :6] = RIGHT_WRIST
    features[:, 21 + KNUCKLE, :3] += KNUCKLES
    features[:, 21 + TIP, :6] += RIGHT_TIP
    features[:, 21:, 6] = 0.9
    features[:, :21, :2] = 0.2
    features[1, KNUCKLE, 2] = 0.01
    features[2, KNUCKLE, :2] += [0.03, 0.04]
    features[:, TIP, :6] += LEFT_TIP
    features[1:, :21, 6] = 0.8
    return features.astype(np.float32)


@pytest.mark.parametrize("wrist_place", [True, False])
def test_three_frames_by_hand(wrist_place):
    # Mean lengths: right 0.05, (0.05 + 0.1) / 2 = 0.075, (0.05 + 0.1 + 0.15) / 3 = 0.1; left 0.01,
    # for which 0.02 is taken, and (0.01 + 0.05) / 2 = 0.03.
    features = three_frames()
    normalized, state = normalize.normalize(features, wrist_place=wrist_place)
    expected = np.zeros((3, 42, 7))
    for frame, size in enumerate((0.05, 0.075, 0.1)):
        expected[frame, 21 + TIP, :6] = RIGHT_TIP / size
        expected[frame, 21 + KNUCKLE, :3] = np.array(KNUCKLES[frame]) / size
    expected[:, 21:, 6] = 0.9
    expected[1, KNUCKLE, :3] = [0.0, 0.0, 0.5]
    expected[2, KNUCKLE, :3] = [1.0, 4 / 3, 0.0]
    expected[1, TIP, :6] = LEFT_TIP / 0.02
    expected[2, TIP, :6] = LEFT_TIP / 0.03
    expected[1:, :21, 6] = 0.8
    if wrist_place:
        expected[:, 21, :6] = RIGHT_WRIST
        expected[1:, 0, :2] = 0.2
    np.testing.assert_allclose(normalized, expected, rtol=1e-4, atol=1e-5)
    assert state.size == (pytest.approx(0.03), pytest.approx(0.1))
    assert state.seen == (2, 3)


def test_the_size_still_follows_a_new_signer_after_an_hour():
    # Of 0.2 until now: the 299th frame counts 1 / 299, every frame from the 300th on 1 / 300.
    before = normalize.NormalizerState(size=(0.2, 0.2), seen=(298, 216_000))
    features = np.zeros((1, 42, 7), np.float32)
    features[:, :, 6] = 1.0
    features[:, [KNUCKLE, 21 + KNUCKLE], 0] = 0.1
    _, after = normalize.normalize(features, before)
    assert after.size == pytest.approx((0.2 - 0.1 / 299, 0.2 - 0.1 / 300), rel=1e-6)
    assert after.seen == (299, 216_001)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_any_cut_into_calls_gives_the_same_numbers(seed, cuts):
    features = random_features(np.random.default_rng(seed), sum(cuts))
    whole, last = normalize.normalize(features)
    state, parts = normalize.INITIAL_STATE, []
    for part in np.split(features, np.cumsum(cuts)[:-1]):
        normalized, state = normalize.normalize(part, state)
        parts.append(normalized)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert state == last


def test_how_the_frames_lie_in_memory_does_not_matter():
    features = random_features(np.random.default_rng(0), 50)
    lying = np.asfortranarray(features)
    expected, state = normalize.normalize(features)
    found, same = normalize.normalize(lying)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(lying, features)
    assert same == state

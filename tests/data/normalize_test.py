import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import random_features
from wsign_jax.data import normalize
from wsign_jax.keypoints import joints


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


def test_the_normalisation_of_a_prefix_is_the_prefix_of_the_normalisation():
    features = random_features(np.random.default_rng(1), 400)
    whole, _ = normalize.normalize(features)
    for frames in (1, 2, 33, 399):
        np.testing.assert_array_equal(normalize.normalize(features[:frames])[0], whole[:frames])


def test_place_and_size_of_the_hand_leave_its_shape_alone():
    features = random_features(np.random.default_rng(2), 60)
    moved = features.copy()
    seen = moved[..., joints.CONFIDENCE] > 0
    moved[..., :6] *= 1.7
    moved[seen, :2] += 0.3
    a, b = normalize.normalize(features)[0], normalize.normalize(moved)[0]
    fingers = [j for j in range(42) if j not in joints.WRISTS]
    np.testing.assert_allclose(a[:, fingers], b[:, fingers], rtol=2e-4, atol=2e-4)
    assert np.abs(a - b)[:, joints.WRISTS].max() > 0.1


@pytest.mark.parametrize("wrist_place", [True, False])
def test_the_wrist_row_carries_the_place_if_asked(wrist_place):
    features = random_features(np.random.default_rng(3), 20)
    normalized, _ = normalize.normalize(features, wrist_place=wrist_place)
    wrist = normalized[:, joints.RIGHT.start, :6]
    expected = features[:, joints.RIGHT.start, :6] if wrist_place else np.zeros((20, 6))
    np.testing.assert_array_equal(wrist, expected)


def test_an_absent_hand_stays_all_zeros_and_does_not_count():
    features = random_features(np.random.default_rng(4), 60)
    normalized, state = normalize.normalize(features)
    absent = ~joints.seen_hands(features)
    np.testing.assert_array_equal(normalized[:, joints.LEFT][absent[:, 0]], 0.0)
    assert state.seen == (45, 60)


def test_the_size_still_follows_a_new_signer_after_an_hour():
    length = np.full(4000, 0.1)
    sizes, size, count = normalize._running_size(length, np.ones(4000, bool), 0.2, 216_000)
    assert sizes[0] == pytest.approx(0.2, abs=0.001)
    assert size == pytest.approx(0.1, rel=1e-3)
    assert count == 220_000


def test_a_hand_seen_edge_on_does_not_explode():
    features = np.zeros((5, 42, 7), np.float32)
    features[..., joints.CONFIDENCE] = 1.0
    features[:, 5, 0] = 0.01
    normalized, _ = normalize.normalize(features)
    assert np.abs(normalized).max() <= 1.0


def test_how_the_frames_lie_in_memory_does_not_matter():
    features = random_features(np.random.default_rng(0), 50)
    lying = np.asfortranarray(features)
    expected, state = normalize.normalize(features)
    found, same = normalize.normalize(lying)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(lying, features)
    assert same == state

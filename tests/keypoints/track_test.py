import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.hands import L, R, hand
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints, track


def run(pictures, fps=30.0, **options):
    """(confidence > 0, wrists) of pictures, each a list of detections, at a constant rate."""
    tracker = track.Tracker(**options)
    parts = [tracker.push(n / fps, detections) for n, detections in enumerate(pictures)]
    frames = track.concatenate([*parts, tracker.finish()])
    return frames.confidence > 0, frames.positions[:, joints.WRISTS, :2]


def signer(count, left=(0.7, 0.7), right=(0.3, 0.7)):
    """Pictures with both hands, the right one waving."""
    wave = 0.05 * np.sin(np.arange(count) / 3)
    return [[hand(right[0], right[1] + w, R), hand(*left, L)] for w in wave]


def assert_hands_stay(seen, wrists, left=(0.7, 0.7), right=(0.3, 0.7)):
    for number, (x, _) in enumerate((left, right)):
        present = seen[:, number]
        np.testing.assert_allclose(wrists[present, number, 0], x, atol=0.02)


# ------------------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    ("label", "score", "expected"),
    [
        (R, 0.9, 1.873609),  # log(9) = 2.197225; 3 * tanh(2.197225 / 3)
        (L, 0.95, -2.261117),  # log(19) = 2.944439
        (R, 0.55, 0.200373),  # log(11 / 9) = 0.200671
        (R, 0.3, 0.0),
        (R, 1.0, 2.999400),  # log(1e6) = 13.815510
    ],
)
def test_what_a_label_says_by_hand(label, score, expected):
    assert track._log_odds(hand(0, 0, label, score)) == pytest.approx(expected, rel=1e-5)


def test_labels_count_e_times_less_a_second_later():
    one = track._Track()
    one.add(1.0, hand(0, 0, R, 0.9))
    one.add(1.5, hand(0, 0, L, 0.95))
    assert one.votes == pytest.approx([1.873609, 1.873609 * 0.606531 - 2.261117], rel=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "expected"),  # time and x of a hand 0.08 long; label R, a score of 0.95
    [
        # Half a hand away after 1 / 30 s, where the spread is 0.5 + 6 / 30 = 0.7: 0.5 * (0.5 / 0.7)^2.
        ([(0.0, 0.4)], (1 / 30, 0.44, R), 0.255102),
        # Three hands away, that is 4.285714 spreads: 1.5 * (4.285714 - 0.75).
        ([(0.0, 0.4)], (1 / 30, 0.64, R), 5.303571),
        # The other label says as much against it as the less sure of both.
        ([(0.0, 0.4)], (1 / 30, 0.44, L), 0.255102 + 1.873609),
        # It is expected where its velocity leads: at 0.44, and a quarter of a hand farther.
        ([(0.0, 0.4), (1 / 30, 0.42)], (2 / 30, 0.44, R), 0.0),
        ([(0.0, 0.4), (1 / 30, 0.42)], (2 / 30, 0.46, R), 0.063776),
        # For 0.05 s: at 0.43, 0.25 hands away; the spread is 0.98.
        ([(0.0, 0.4), (0.1, 0.42)], (0.18, 0.45, R), 0.032539),
        # By one step at most: at 0.44, half a hand away; the spread is 0.8.
        ([(0.0, 0.4), (0.02, 0.42)], (0.07, 0.48, R), 0.195313),
    ],
)
def test_costs_by_hand(before, after, expected):
    one = track._Track()
    for time, x in before:
        one.add(time, hand(x, 0.5, R))
    time, x, label = after
    cost = one.cost(time, hand(x, 0.5, label, 0.95 if label == R else 0.9))
    assert cost == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_distances_are_in_sizes_of_the_larger_hand():
    one, half = track._Track(), hand(0.44, 0.5, R)
    one.add(0.0, hand(0.4, 0.5, R))
    shrunk = half.landmarks[0] + (half.landmarks - half.landmarks[0]) / 2
    assert one.cost(1 / 30, half._replace(landmarks=shrunk)) == pytest.approx(0.255102, rel=1e-5)
    assert track._size(shrunk) == pytest.approx(0.04)
    assert track._size(np.zeros((21, 3))) == 0.02


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([[4.9]], [0]),
        ([[5.1]], [None]),  # a new track costs 5
        ([[1.0, 2.0], [0.5, 4.0]], [1, 0]),
        ([[1.0, 2.0], [3.5, 4.0]], [0, 1]),
        ([[1.0], [0.5]], [None, 0]),
        ([[1.0, 7.0], [6.0, 8.0]], [0, None]),
    ],
)
def test_matches_by_hand(costs, expected):
    assert track._best_matches(costs) == expected


def test_two_reports_nearer_than_three_tenths_of_a_hand_are_one():
    sure, unsure = hand(0.4, 0.5, R, 0.9), hand(0.4 + 0.29 * 0.08, 0.5, L, 0.8)
    assert track._distinct([unsure, sure]) == [sure]
    apart = hand(0.4 + 0.31 * 0.08, 0.5, L, 0.8)
    assert track._distinct([apart, sure]) == [sure, apart]


@pytest.mark.parametrize(
    ("known", "votes", "beside", "expected"),
    [
        (None, 0.1, None, R),
        (None, -0.1, None, L),
        (None, 0.0, None, R),  # as it was reported
        (L, 2.9, None, L),  # a name is changed by evidence over 3
        (L, 3.1, None, R),
        (R, -2.9, None, R),
        (R, -3.1, None, L),
        (None, 1.0, (2.0, 0.9), L),  # the other says more for the right
        (None, 1.0, (1.0, 0.9), R),  # labels say nothing; on the picture's left
        (None, 1.0, (1.0, 0.1), L),
        (R, 1.0, (3.0, 0.9), R),
    ],
)
def test_names_by_hand(known, votes, beside, expected):
    one, other = track._Track(name=known), track._Track()
    present = [(one, votes, hand(0.5, 0.5, R))]
    if beside is not None:
        present.append((other, beside[0], hand(beside[1], 0.5, R)))
    track.Tracker()._name(present)
    assert one.name == expected
    assert other.name == (None if beside is None else 1 - expected)


def test_between_two_pictures_by_hand():
    tracker = track.Tracker()
    assert len(tracker.push(0.0, [hand(0.4, 0.5, R, 0.9)]).confidence) == 0
    assert len(tracker.push(0.02, [hand(0.46, 0.5, R, 0.6)]).confidence) == 0
    assert len(tracker.push(0.149, []).confidence) == 0
    first = tracker.push(0.151, [])  # the delay is 0.15 s
    second = tracker.push(1 / 60 + 0.151, [])
    # 1 / 60 is five sixths of the way.
    np.testing.assert_allclose(first.confidence, [[0, 0.9]], atol=1e-6)
    np.testing.assert_allclose(second.confidence, [[0, 0.65]], atol=1e-6)
    np.testing.assert_allclose(second.positions[0, 21], [0.45, 0.5, 0.0], atol=1e-6)


# ---------------------------------------------------------------------------------------- what happens


def test_the_second_hand_may_have_the_wrong_label_from_the_start():
    pictures = signer(40)
    for number, (right, left) in enumerate(pictures):
        late = [left._replace(hand=R if number < 12 else L, score=0.7)] if number > 9 else []
        pictures[number] = [right, *late]
    seen, wrists = run(pictures)
    assert seen[:, R].all() and not seen[:20, L].any() and seen[20:, L].all()
    assert_hands_stay(seen, wrists)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 45), st.integers(1, 6), st.booleans(), st.booleans())
def test_labels_that_flip_for_a_few_pictures_are_outvoted(begin, length, flip_left, flip_right):
    pictures = signer(50)
    for number in range(begin, min(begin + length, 50)):
        right, left = pictures[number]
        right = right._replace(hand=L) if flip_right else right
        left = left._replace(hand=R) if flip_left else left
        # In any order: it means nothing.
        pictures[number] = [left, right] if number % 2 else [right, left]
    seen, wrists = run(pictures)
    # At a video's very start nothing says which labels are the wrong ones.
    if begin > length:
        assert seen.all()
        assert_hands_stay(seen, wrists)


def test_a_wrong_first_label_is_fixed_by_looking_ahead():
    seen, _ = run([[hand(0.4, 0.5, L if n < 2 else R)] for n in range(30)])
    assert seen[:, R].all() and not seen[:, L].any()


@pytest.mark.parametrize(("missing", "filled"), [(1, True), (3, True), (4, False), (12, False)])
def test_short_gaps_are_filled_and_longer_ones_stay(missing, filled):
    pictures = signer(50)
    for number in range(20, 20 + missing):
        pictures[number] = pictures[number][1:]  # without the right hand
    seen, wrists = run(pictures)
    gap = slice(39, 39 + 2 * missing + 1)  # between the pictures 19 and 20 + missing
    assert seen[gap, R].all() == filled == seen[gap, R].any()
    assert seen[:, L].all() and seen[: gap.start, R].all() and seen[gap.stop :, R].all()
    assert_hands_stay(seen, wrists)


def test_while_one_hand_is_lost_the_other_does_not_take_its_place():
    pictures = signer(40)
    for number in range(15, 19):
        # The right hand is not found, and the left one is named right.
        pictures[number] = [pictures[number][1]._replace(hand=R)]
    seen, wrists = run(pictures)
    assert seen[:, L].all()
    assert_hands_stay(seen, wrists)


def test_a_hand_that_comes_back_in_the_same_place_starts_anew_too():
    pictures = [[hand(0.4, 0.5, R)]] * 20 + [[]] * 6 + [[hand(0.4, 0.5, L)]] * 20
    seen, _ = run(pictures)
    assert not seen[39:, R].any() and seen[52:, L].all()


def test_the_other_hand_is_told_from_the_lost_one_by_its_label_too():
    """Three hand sizes in 0.1 s: the same hand could, but it would not change its name as well."""
    pictures = [[hand(0.3, 0.5, R)]] * 20 + [[]] * 2 + [[hand(0.54, 0.5, L)]] * 20
    seen, _ = run(pictures)
    assert not seen[39:, R].any() and not seen[:44, L].any() and seen[44:, L].all()
    same, _ = run([*pictures[:22], *[[hand(0.54, 0.5, R)]] * 20])
    assert same[:, R].all()


def test_labels_that_alternate_do_not_alternate_the_hand():
    seen, _ = run([[hand(0.4, 0.5, (L, R)[n % 2], 0.9)] for n in range(60)])
    assert seen[:, seen[0]].all() and not seen[:, ~seen[0]].any()


def test_the_surer_of_two_right_hands_is_the_right_one():
    pictures = [[hand(0.6, 0.5, R, 0.52)] for _ in range(10)]
    pictures += [[hand(0.6, 0.5, R, 0.52), hand(0.2, 0.5, R, 0.99)] for _ in range(20)]
    seen, wrists = run(pictures)
    assert seen[24:].all()
    np.testing.assert_allclose(wrists[24:, R, 0], 0.2, atol=1e-6)
    np.testing.assert_allclose(wrists[24:, L, 0], 0.6, atol=1e-6)


def test_fast_hands_that_cross_are_told_apart_by_their_speed():
    pictures = [[hand(0.2 + 0.05 * n, 0.5, R), hand(0.78 - 0.05 * n, 0.5, L)] for n in range(13)]
    for number in (5, 6, 7):
        pictures[number] = [d._replace(hand=R, score=0.6) for d in pictures[number]]
    seen, wrists = run(pictures)
    assert seen.all()
    np.testing.assert_allclose(wrists[:, R, 0], 0.2 + 0.025 * np.arange(25), atol=1e-6)


def test_nothing_beyond_the_delay_counts_even_where_pictures_are_far_apart():
    tracker = track.Tracker()
    tracker.push(0.0, [hand(0.4, 0.5, L, 0.6)])
    tracker.push(1 / 60, [hand(0.4, 0.5, L, 0.6)])
    # 0.167 s after the first frame, which is made final only now.
    frames = tracker.push(1 / 60 + 0.15, [hand(0.4, 0.5, R, 0.99)])
    np.testing.assert_array_equal(frames.confidence[0] > 0, [True, False])


def test_detections_given_to_the_other_hand_are_counted():
    tracker = track.Tracker()
    for number in range(30):
        tracker.push(number / 30, [hand(0.4, 0.5, L if number in (7, 8, 20) else R)])
    tracker.finish()
    assert tracker.renamed == 3


def test_one_hand_that_is_reported_twice_is_one():
    pictures = [[hand(0.4, 0.5, R, 0.9), hand(0.405, 0.5, L, 0.8)] for _ in range(20)]
    seen, _ = run(pictures)
    assert seen[:, R].all() and not seen[:, L].any()


def test_another_hand_in_the_same_slot_is_no_movement():
    """At 60 fps no frame lies between the two: there must still be no velocity from one to the other."""
    pictures = [[hand(0.2, 0.5, R)] for _ in range(30)] + [[hand(0.8, 0.5, R)] for _ in range(30)]
    tracker = track.Tracker()
    parts = [tracker.push(n / 60, detections) for n, detections in enumerate(pictures)]
    features = joints.features_from_positions(*track.concatenate([*parts, tracker.finish()]))
    assert (~joints.seen_hands(features)[:, R]).sum() == 1
    np.testing.assert_array_equal(features[..., joints.VELOCITY], 0.0)


def test_smoothing_calms_and_keeps_what_is_absent_absent():
    rng = np.random.default_rng(1)
    pictures = [
        [hand(0.4 + e, 0.5, R)] if n < 40 else [] for n, e in enumerate(rng.normal(0, 0.003, 60))
    ]
    plain, smooth = run(pictures, fps=60), run(pictures, fps=60, smooth=True)
    np.testing.assert_array_equal(plain[0], smooth[0])
    assert smooth[1][:40, R, 0].std() < 0.7 * plain[1][:40, R, 0].std()
    assert not smooth[1][41:].any()


def test_smoothing_starts_afresh_after_an_absence():
    pictures = [[hand(0.3, 0.5, R)]] * 20 + [[]] * 20 + [[hand(0.8, 0.5, R)]] * 5
    seen, wrists = run(pictures, fps=60, smooth=True)
    assert seen[40:, R].all()
    np.testing.assert_allclose(wrists[40:, R, 0], 0.8, atol=1e-6)


def test_a_time_that_no_picture_can_have_is_refused():
    tracker = track.Tracker()
    tracker.push(0.5, [])
    with pytest.raises(WSignError, match=r"before was 0\.500000 s; times must increase"):
        tracker.push(0.4, [])


def test_a_long_absence_is_passed_over():
    """Two hands, an hour of nothing, and one of them again: what is between is nothing."""
    tracker, features = track.Tracker(), track.FeatureStream()
    parts = [tracker.push(0.0, signer(1)[0]), tracker.push(10.0, []), tracker.push(3600.0, [])]
    parts += [tracker.push(3600.1, [hand(0.3, 0.7, R)]), tracker.finish()]
    frames = track.concatenate(parts)
    assert len(frames.confidence) == 3600.1 * 60 + 1
    np.testing.assert_array_equal(np.flatnonzero(frames.confidence.any(1)), [0, 3600.1 * 60])
    assert not frames.positions[1:-1].any()
    made = np.concatenate([*map(features.push, parts), features.finish()])
    np.testing.assert_array_equal(made, joints.features_from_positions(*frames))


def test_nothing_pushed_is_no_frames():
    frames = track.Tracker().finish()
    assert frames.positions.shape == (0, 42, 3) and frames.confidence.shape == (0, 2)


def moving(count, speed):
    """A right hand that moves so fast, and arrives at 0 in the last of n frames."""
    found = track.no_frames(count)
    found.confidence[:, 1] = 0.9
    found.positions[:, 21:, 0] = speed / 60 * np.arange(1 - count, 1)[:, None]
    return found


def test_movement_is_a_hand_that_is_seen_and_fast():
    assert track.find_movement(moving(4, 0.051)).tolist() == [True, True]
    assert not track.find_movement(moving(4, 0.049)).any()
    leaving = moving(5, 0.5)
    leaving.confidence[3:] = 0.0
    assert track.find_movement(leaving).tolist() == [True, False, False]
    fingers = moving(4, 0.0)
    # Of 21 joints three move by 1 width a second, then one: 0.143 and 0.048 on average.
    fingers.positions[2, 21 + 5 : 21 + 8, :2] = np.array([0.6, 0.8]) / 30
    fingers.positions[3, 21 + 5, :2] = np.array([0.6, 0.8]) / 30
    assert track.find_movement(fingers).tolist() == [True, False]

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints, resample


def line(times):
    """(t, 42, 3) positions that move at 0.5 widths a second."""
    return np.broadcast_to(0.1 + 0.5 * np.asarray(times)[:, None, None], (len(times), 42, 3)).copy()


def both(times):
    return np.ones((len(times), 2), bool)


@pytest.mark.parametrize(
    ("times", "time", "expected"),
    [
        ([0.0, 0.1], 0.025, (0, 1, 0.25)),
        ([0.0, 0.1], 0.1, (1, 1, 0.0)),
        ([0.0, 0.15], 0.05, (0, 1, 1 / 3)),  # the longest gap that is filled
        ([0.0, 0.16], 0.05, None),
        ([0.0, 0.16], 0.008, (0, 0, 0.0)),  # half a frame is 0.00833 s
        ([0.0, 0.16], 0.009, None),
        ([0.0, 0.16], 0.152, (1, 1, 0.0)),
        ([1.0], 1.008, (0, 0, 0.0)),
        ([1.0], 1.009, None),
        ([], 0.0, None),
    ],
)
def test_places_by_hand(times, time, expected):
    found = resample.find_samples(times, time, 60)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60, 120])
def test_steady_movement_is_the_same_at_any_rate(fps):
    times = 3.0 + np.arange(round(fps) + 1) / fps
    positions, present = resample.resample(line(times), both(times), times)
    assert present.all() and len(positions) == round((times[-1] - times[0]) * 60) + 1
    expected = line(times[0] + np.arange(len(positions)) / 60)
    # The last frame may lie half a frame beyond the last picture.
    np.testing.assert_allclose(positions, expected, atol=0.5 / 120 + 1e-9)
    np.testing.assert_allclose(positions[:-1], expected[:-1], atol=1e-9)


def test_irregular_times_count():
    times = np.cumsum([0.0, 0.01, 0.1, 0.03, 0.14, 0.002, 0.05])
    positions, present = resample.resample(line(times), both(times), times)
    assert present.all()
    np.testing.assert_allclose(positions[:-1], line(np.arange(len(positions) - 1) / 60), atol=1e-9)


@pytest.mark.parametrize(("missing", "filled"), [(3, True), (8, True), (9, False), (20, False)])
def test_gaps_up_to_the_limit_are_filled(missing, filled):
    times = np.arange(60) / 60
    present = both(times)
    present[10 : 10 + missing, 0] = False
    positions, seen = resample.resample(line(times), present, times)
    assert seen[10 : 10 + missing, 0].all() == filled == seen[10 : 10 + missing, 0].any()
    assert seen[:, 1].all()
    left = positions[:, joints.LEFT]
    if filled:
        np.testing.assert_allclose(left, line(times)[:, joints.LEFT], atol=1e-9)
    else:
        assert not left[10 : 10 + missing].any() and left[10 + missing].any()


@given(st.floats(0, 1), st.floats(0.3, 1))
def test_a_hand_seen_once_is_in_one_frame(first, later):
    times = np.array([0.0, first + 0.2, first + 0.2 + later])
    present = both(times)
    present[[0, 2], 1] = False
    _, seen = resample.resample(line(times), present, times)
    assert seen[:, 1].sum() in (1, 2)  # two only where it lies half way between them
    assert abs(np.flatnonzero(seen[:, 1])[0] / 60 - times[1]) <= 0.5 / 60 + 1e-9


@pytest.mark.parametrize("last", [-1.0, 86401.0, 1e300, float("nan")])
def test_times_over_more_than_a_day_are_refused_before_memory_is_asked_for(last):
    times = np.array([0.0, last])
    with pytest.raises(WSignError, match=r"times go from 0 to .* s, more than a day"):
        resample.resample(line([0.0, 1.0]), both(times), times)


NO_TIMES = [float("nan"), -np.inf, 1e300, -1e18, 1.7e12, 10**400, "1", None, [1.0], 1j, np.zeros(3)]


@pytest.mark.parametrize(
    ("time", "what"),
    [
        *((time, r"time is .*; give seconds, a number up to 1e\+10") for time in NO_TIMES),
        (0.5, r"time is 0\.500000 s, .* before was 0\.500000 s; times must increase"),
        (-1.0, r"time is -1\.000000 s, .* before was 0\.500000 s; times must increase"),
        (3601.0, "before was .*, more than an hour; give seconds by one clock"),
    ],
)
def test_a_time_that_no_picture_can_have_is_named(time, what):
    resample.check_time(-1e9, -np.inf)
    resample.check_time(3600.5, 0.5)
    with pytest.raises(WSignError, match=what) as error:
        resample.check_time(time, 0.5)
    assert "\n" not in str(error.value)


def test_one_euro_by_hand():
    # From rest 0.1 away, 0.06 in x and 0.08 in y, at 60 Hz. 60 / (2 pi) is 9.5493, so that c Hz weigh
    # 1 / (1 + 9.5493 / c). Speed: 6 * 0.094793 = 0.568758; cut-off 3 + 5.68758; weight 0.476374.
    # Then 0.568758 + 0.094793 * (60 * 0.0523626 - 0.568758) = 0.812660; 3 + 8.12660; 0.538143.
    smooth = resample.OneEuroFilter(60)
    smooth(np.zeros((21, 3)))
    for way in (0.0476374, 0.0476374 + 0.538143 * 0.0523626):
        found = smooth(np.broadcast_to([0.06, 0.08, 0.0], (21, 3)))
        np.testing.assert_allclose(found, way * np.ones((21, 1)) * [0.6, 0.8, 0.0], rtol=1e-5)


def test_60_hz_stays_as_it_is():
    times = np.arange(50) / joints.FPS
    given_positions = np.random.default_rng(1).random((50, 42, 3))
    present = np.random.default_rng(2).random((50, 2)) < 0.9
    present[:12] = True
    present[12:30, 1] = False
    positions, seen = resample.resample(given_positions, present, times)
    assert (seen | ~present).all()
    kept = np.repeat(present, 21, axis=1)
    np.testing.assert_allclose(positions[kept], given_positions[kept])
    assert not seen[12:30, 1].any() and not positions[12:30, joints.RIGHT].any()


@given(
    steps=st.lists(st.floats(0.005, 0.3), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_samples_lie_between_what_was_seen(steps, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(steps)
    present = rng.random((len(steps), 2)) < 0.7
    given_positions = rng.random((len(steps), 42, 3))
    given_positions[~np.repeat(present, 21, axis=1)] = 99.0
    positions, seen = resample.resample(given_positions, present, times)
    assert abs((len(positions) - 1) / 60 - (times[-1] - times[0])) < 0.5 / 60 + 1e-6
    assert positions.max(initial=0.0) <= 1.0 and positions.min(initial=0.0) >= 0.0
    assert not positions[~np.repeat(seen, 21, axis=1)].any()
    for hand in range(2):
        for frame in np.flatnonzero(seen[:, hand]):
            distance = np.abs(times[present[:, hand]] - times[0] - frame / 60)
            assert distance.min() <= 0.075 + 1e-6

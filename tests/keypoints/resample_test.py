import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.errors import WSignError
from wsign_jax.keypoints import joints, resample


def line(times):
    """(t, 42, 3) positions that move at 0.5 widths a second."""
    return np.broadcast_to(0.1 + 0.5 * np.asarray(times)[:, None, None], (len(times), 42, 3)).copy()


def both(times):
    return np.ones((len(times), 2), bool)


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


def test_one_picture_is_one_frame():
    positions, present = resample.resample(line([7.0]), both([7.0]), np.array([7.0]))
    assert positions.shape == (1, 42, 3) and present.shape == (1, 2) and present.all()


def test_one_euro_calms_a_hand_at_rest_and_follows_one_that_moves():
    rng = np.random.default_rng(0)
    smooth = resample.OneEuroFilter(60)
    resting = 0.5 + rng.normal(0, 0.002, (200, 21, 3))
    calmed = np.stack([smooth(frame) for frame in resting])
    assert calmed[50:].std(0).mean() < 0.6 * resting[50:].std(0).mean()
    smooth.reset()
    moving = np.broadcast_to(np.arange(60)[:, None, None] / 60, (60, 21, 3))  # a width a second
    lag = moving[-1] - [smooth(frame) for frame in moving][-1]
    assert 0 < lag.max() < 0.02  # seconds, at this speed


def test_one_euro_starts_afresh_after_a_reset():
    smooth = resample.OneEuroFilter(60)
    for value in (0.0, 0.1):
        smooth(np.full((21, 3), value))
    smooth.reset()
    np.testing.assert_array_equal(smooth(np.full((21, 3), 0.9)), 0.9)


def test_frames_cover_the_video():
    for fps, count in itertools.product((24, 25, 29.97, 30, 60), (1, 2, 57, 100)):
        frames = resample.frame_count((count - 1) / fps, 60)
        assert abs((frames - 1) / 60 - (count - 1) / fps) <= 0.5 / 60 + 1e-9


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

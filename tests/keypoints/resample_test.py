import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.keypoints import joints
from wsign_jax.keypoints.resample import resample


def line(times: np.ndarray) -> np.ndarray:
    """(t, 42, 3) of joints that move along straight lines."""
    rng = np.random.default_rng(0)
    start, speed = rng.random((2, joints.NUM_JOINTS, 3))
    return start + speed * times[:, None, None]


def test_steady_motion_stays_steady_and_a_shift_of_time_changes_nothing():
    times = 3.0 + np.arange(30) / 30
    present = np.ones((30, 2), bool)
    positions, seen = resample(line(times), present, times)
    assert len(positions) == 59 and seen.all()
    np.testing.assert_allclose(positions, line(3.0 + np.arange(59) / 60))


def test_60_hz_stays_as_it_is():
    times = np.arange(50) / joints.FPS
    given_positions = np.random.default_rng(1).random((50, 42, 3))
    present = np.random.default_rng(2).random((50, 2)) < 0.9
    present[:12] = True
    present[12:30, 1] = False
    positions, seen = resample(given_positions, present, times)
    assert (seen | ~present).all()
    kept = np.repeat(present, 21, axis=1)
    np.testing.assert_allclose(positions[kept], given_positions[kept])
    assert not seen[12:30, 1].any() and not positions[12:30, joints.RIGHT].any()


def test_gaps_up_to_0_15_s_are_bridged_and_longer_ones_stay():
    times = np.arange(40) / 20
    present = np.ones((40, 2), bool)
    present[5:7, 0] = False  # 0.15 s from seen to seen
    present[20:23, 1] = False  # 0.2 s
    positions, seen = resample(line(times), present, times)
    assert seen[:, 0].all()
    absent = np.flatnonzero(~seen[:, 1])
    assert absent[0] == 19 * 3 + 1 and absent[-1] == 23 * 3 - 1 and len(absent) == 11
    assert not positions[absent, joints.RIGHT].any()
    there = np.repeat(seen, 21, axis=1)
    np.testing.assert_allclose(positions[there], line(np.arange(len(seen)) / 60)[there])


def test_a_hand_that_was_never_seen_and_a_single_frame():
    present = np.array([[False, True]])
    positions, seen = resample(np.ones((1, 42, 3)), present, np.array([0.7]))
    np.testing.assert_array_equal(seen, present)
    assert not positions[0, joints.LEFT].any() and (positions[0, joints.RIGHT] == 1).all()


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
    positions, seen = resample(given_positions, present, times)
    assert abs((len(positions) - 1) / 60 - (times[-1] - times[0])) < 0.5 / 60 + 1e-6
    assert positions.max(initial=0.0) <= 1.0 and positions.min(initial=0.0) >= 0.0
    assert not positions[~np.repeat(seen, 21, axis=1)].any()
    for hand in range(2):
        for frame in np.flatnonzero(seen[:, hand]):
            distance = np.abs(times[present[:, hand]] - times[0] - frame / 60)
            assert distance.min() <= 0.075 + 1e-6

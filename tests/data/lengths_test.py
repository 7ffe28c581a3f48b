import numpy as np
import pytest

from tests.helpers.recorded import switches
from wsign_jax.data import lengths


def test_lengths_stay_within_what_ctc_and_the_bound_allow():
    # One that cannot be emitted even now and one over the bound: at least and at most as they are.
    frames = np.array([100, 1490, 40, 1600])
    shortest = np.array([99, 4, 60, 4])
    config = switches(speed=0.3)
    drawn = np.stack(
        [lengths.augmented_frames(frames, shortest, 1500, config, 0, e) for e in range(50)]
    )
    assert [drawn[:, 0].min(), drawn[:, 2].min()] == [99, 40]
    assert [drawn[:, 1].max(), drawn[:, 3].max()] == [1500, 1600]


def test_a_pace_is_as_often_slower_as_it_is_faster():
    # At 0.8 to 1.25 of it; log-uniform, whose mean is 0.45 / log(1.25 / 0.8) = 1.0083.
    many = np.full(20_000, 1000)
    drawn = lengths.augmented_frames(many, many - 500, 1500, switches(speed=0.2), 0, 0)
    assert (drawn.min(), drawn.max()) == (800, 1250)
    assert np.median(drawn) == pytest.approx(1000, abs=3)
    assert drawn.mean() == pytest.approx(1008.3, abs=3)


def test_lengths_depend_on_seed_and_epoch_only():
    frames, shortest = np.full(20, 300), np.full(20, 8)
    config = switches(speed=0.2)
    whole = lengths.augmented_frames(frames, shortest, 1500, config, 1, 2)
    fewer = lengths.augmented_frames(frames[:5], shortest[:5], 1500, config, 1, 2)
    np.testing.assert_array_equal(whole[:5], fewer, "an example's draw depends on the others")
    assert (whole != lengths.augmented_frames(frames, shortest, 1500, config, 1, 3)).any()


@pytest.mark.parametrize("speed", [0.0, 0.2, 0.5])
def test_no_source_is_longer_than_its_bucket_allows(speed):
    frames, bucket = np.arange(1, 400), 96
    drawn = np.stack(
        [
            lengths.augmented_frames(frames, frames * 0 + 8, 300, switches(speed=speed), 0, epoch)
            for epoch in range(200)
        ]
    )
    longest = max(frames[(drawn == bucket).any(axis=0)])
    assert longest <= lengths.source_length(bucket, speed) <= longest + 4

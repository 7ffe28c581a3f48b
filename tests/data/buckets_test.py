import itertools
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.common.errors import WSignError
from wsign_jax.data import buckets

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=40)


def phoenix_frames() -> np.ndarray:
    """Lengths of the PHOENIX-2014 training sentences at 60 Hz (published at 25 fps)."""
    text = pathlib.Path(__file__).with_name("phoenix2014_train_frames.txt").read_text()
    frames = np.round(np.array(text.split(), int) * 2.4).astype(int)
    return frames[frames <= 1500]


def waste(frames, found):
    return sum(min(b for b in found if b >= f) - f for f in frames)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 4))
def test_no_choice_of_buckets_wastes_less(frames, count):
    found = buckets.find_buckets(np.array(frames), count)
    assert 1 <= len(found) <= count
    assert all(b % buckets.MULTIPLE == 0 for b in found) and list(found) == sorted(set(found))
    units = sorted({-(-f // buckets.MULTIPLE) * buckets.MULTIPLE for f in frames})
    choices = (
        (*some, units[-1])
        for k in range(min(count, len(units)))
        for some in itertools.combinations(units[:-1], k)
    )
    assert waste(frames, found) == min(waste(frames, choice) for choice in choices)


def test_buckets_by_hand():
    # In units of 32 frames 1, 1, 1, 2 and 3: (32, 96) computes 3 * 32 + 2 * 96 = 288 frames, (64, 96)
    # 4 * 64 + 96 = 352.
    frames = np.array([1, 31, 32, 33, 65])
    assert buckets.find_buckets(frames, 2) == (32, 96)
    assert buckets.find_buckets(frames, 1) == (96,)
    assert buckets.find_buckets(frames, 9) == (32, 64, 96)


@pytest.mark.parametrize(
    ("frames", "batch_size", "expected", "efficiency"),
    [
        ([10, 48, 16, 33, 20], 2, [(16, [0, 2]), (48, [1, 3]), (48, [4, -1])], 127 / 224),
        ([10, 48, 16], 2, [(16, [0, 2]), (48, [1, -1])], 74 / 128),
        ([10, 40], 3, [(48, [0, 1, -1])], 50 / 144),  # what did not fill a batch moves up
        ([10], 3, [(16, [0, -1, -1])], 10 / 48),  # where there is anything above
    ],
)
def test_a_plan_by_hand(frames, batch_size, expected, efficiency):
    plans = buckets.plan_epoch(np.array(frames), (16, 48), batch_size)
    assert [(plan.bucket, plan.rows.tolist()) for plan in plans] == expected
    assert buckets.padding_efficiency(plans, np.array(frames)) == pytest.approx(efficiency)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 7), st.integers(1, 5), st.booleans())
def test_an_epoch_has_every_example_once_in_a_bucket_that_holds_it(frames, batch, count, shuffled):
    frames = np.array(frames)
    rng = np.random.default_rng(0) if shuffled else None
    plans = buckets.plan_epoch(frames, buckets.find_buckets(frames, count), batch, 3, rng)
    rows = np.concatenate([plan.rows for plan in plans])
    assert sorted(rows[rows >= 0]) == list(range(len(frames)))
    assert len(rows) - len(frames) < batch, "more masked rows than one batch's tail"
    for plan in plans:
        assert len(plan.rows) == batch and plan.epoch == 3
        assert frames[plan.rows[plan.rows >= 0]].max() <= plan.bucket


@pytest.mark.parametrize(("count", "efficiency"), [(4, 0.83), (8, 0.90), (12, 0.93)])
def test_few_shapes_waste_little_on_phoenix(count, efficiency):
    frames = phoenix_frames()
    found = buckets.find_buckets(frames, count)
    plans = buckets.plan_epoch(frames, found, 16, rng=np.random.default_rng(0))
    assert len({plan.bucket for plan in plans}) <= count
    assert buckets.padding_efficiency(plans, frames) >= efficiency


def test_a_sequence_over_the_last_bucket_is_an_error():
    with pytest.raises(WSignError, match="50 frames are over the longest bucket, 48"):
        buckets.plan_epoch(np.array([50]), (48,), 1)


def test_no_sequences_is_an_error():
    with pytest.raises(WSignError, match="no buckets for 0 sequences"):
        buckets.find_buckets(np.array([], int), 4)

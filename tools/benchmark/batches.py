"""Batches to measure training on, the same for both sides of a comparison. Numpy only."""

import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from tools.benchmark import phoenix
from wsign_jax.data import buckets
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.keypoints import joints

AnyBatch = TypeVar("AnyBatch")


def signing_batch(rows: int, frames: int) -> dict[str, np.ndarray]:
    """Makes the fields of a batch of sentences; the shortest has four fifths of the longest's frames."""
    lengths = np.linspace(frames, frames * 4 // 5, rows).astype(np.int32)
    label_lengths = np.array([phoenix.glosses_in(int(length)) for length in lengths], np.int32)
    positions = np.zeros((rows, frames, joints.NUM_JOINTS, 3), np.float32)
    confidence = np.zeros((rows, frames, len(joints.HANDS)), np.float32)
    labels = np.zeros((rows, label_lengths.max()), np.int32)
    for row, (length, glosses) in enumerate(zip(lengths, label_lengths, strict=True)):
        signed = joints.raw(phoenix.signing(int(length), row))
        positions[row, :length], confidence[row, :length] = signed
        rng = np.random.default_rng(row)
        labels[row, :glosses] = rng.integers(1, phoenix.GLOSSES + 1, glosses)
    return {
        "positions": positions,
        "confidence": confidence,
        "frames": lengths,
        "labels": labels,
        "label_lengths": label_lengths,
    }


def bucketed_plans(frames: np.ndarray, batch_size: int, count: int) -> list[BatchPlan]:
    """Plans one epoch as we train it: sentences of (n,) lengths in `count` buckets."""
    rng = np.random.default_rng(0)
    return buckets.plan_epoch(frames, buckets.find_buckets(frames, count), batch_size, rng=rng)


def random_plans(frames: np.ndarray, batch_size: int, multiple: int = 1) -> list[BatchPlan]:
    """Plans one epoch in random order; each batch is padded to its longest, a partial one left out.

    Args:
        frames: (n,) lengths.
        batch_size: rows of every batch.
        multiple: the longest is rounded up to a multiple of so many frames.
    """
    order = np.random.default_rng(0).permutation(len(frames)).astype(np.int32)
    order = order[: len(frames) - len(frames) % batch_size].reshape(-1, batch_size)
    longest = -(-frames[order].max(axis=1) // multiple) * multiple
    return [BatchPlan(0, int(frames), rows) for frames, rows in zip(longest, order, strict=True)]


class Sample(NamedTuple):
    """A few batches that stand for an epoch."""

    plans: list[BatchPlan]
    scale: float  # mean padded length of all batches over that of these; corrects a mean time


def sampled(plans: Sequence[BatchPlan], count: int) -> Sample:
    """Picks `count` full batches, evenly spaced in the order of padded lengths, and shuffles them."""
    full = sorted((plan for plan in plans if plan.rows.min() >= 0), key=lambda plan: plan.bucket)
    places = (np.random.default_rng(0).permutation(count) + 0.5) / count * len(full)
    chosen = [full[int(place)] for place in places]
    means = [np.mean([plan.bucket for plan in some]) for some in (full, chosen)]
    return Sample(chosen, float(means[0] / means[1]))


def write(root: pathlib.Path, samples: dict[str, Sample]) -> dict[str, Sample]:
    """Writes the sentences of some batches as a data set.

    Returns:
        The same batches, with the data set's own numbers.
    """
    rows = [plan.rows for sample in samples.values() for plan in sample.plans]
    numbers = np.unique(np.concatenate(rows))
    phoenix.write_dataset(root, numbers)

    def renumbered(plan: BatchPlan) -> BatchPlan:
        rows = np.searchsorted(numbers, plan.rows).astype(np.int32)
        return BatchPlan(plan.epoch, plan.bucket, rows)

    return {
        name: sample._replace(plans=[renumbered(plan) for plan in sample.plans])
        for name, sample in samples.items()
    }


def going_on(plans: Sequence[BatchPlan]) -> list[BatchPlan]:
    """The batches to load for `clocked`: the last one, then all, then all again.

    So a loader that reads ahead has as much to do while the clock runs as in the middle of an epoch.
    """
    return [plans[-1], *plans, *plans]


def clocked(loaded: Iterable[AnyBatch], step: Callable[[AnyBatch], object], count: int) -> float:
    """Mean seconds from a batch's loading to the end of its step, over `count`, after a first one."""
    for number, batch in enumerate(loaded):
        step(batch)
        if number == 0:
            began = time.perf_counter()
        if number == count:
            return (time.perf_counter() - began) / count
    raise ValueError(f"fewer than {count + 1} batches")

"""The grain pipeline: loads planned batches as typed `Batch`es, on threads.

Grain has no bucketing. The batches of the whole run are planned here, from lengths alone and before any
example is read: which examples, in which epoch, padded to which length. Batch i is then a pure function
of (seed, i). So grain's iterator state is a single index, every epoch sees every example exactly once,
and all processes agree on every shape.
"""

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

import grain
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.data import layout, lengths, validate
from wsign_jax.data.buckets import BatchPlan, find_buckets, plan_epoch
from wsign_jax.keypoints import joints

_SHUFFLE = 2  # the stream of random numbers that orders batches; lengths.py uses 0
# NumPy's when loaded, JAX's once on devices.
Array = TypeVar("Array")


@dataclasses.dataclass(frozen=True)
class Batch(Generic[Array]):
    """One padded batch of raw keypoints; a masked row has 0 frames, no labels and example -1."""

    positions: Array  # (B, S, 42, 3) float32 as on disk; S is T, or more if training changes speeds
    confidence: Array  # (B, S, 2) float32 of the left and the right hand
    source_frames: Array  # (B,) int32 valid frames of these
    frames: Array  # (B,) int32 valid frames of the (B, T, ...) features that are made of them
    labels: Array  # (B, U) int32 gloss ids, 0 beyond `label_lengths`
    label_lengths: Array  # (B,) int32
    example: Array  # (B,) int32 index into the split
    epoch: Array  # (B,) int32
    length: int  # T


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """Every batch of a run's epochs, planned from lengths alone."""

    frames: np.ndarray  # (epochs, n) int32 augmented lengths
    members: np.ndarray  # (epochs, m) int32 examples that take part in each epoch
    buckets: tuple[int, ...]  # the same for all stages: one compiled shape each
    seed: int

    def epoch(self, epoch: int, batch_size: int) -> list[BatchPlan]:
        """Plans the batches of one epoch, in random order."""
        rng = np.random.default_rng([self.seed, epoch, _SHUFFLE])
        members = self.members[epoch]
        plans = plan_epoch(self.frames[epoch, members], self.buckets, batch_size, epoch, rng)
        return [
            dataclasses.replace(plan, rows=np.where(plan.rows < 0, plan.rows, members[plan.rows]))
            for plan in plans
        ]


def plan_training(
    split: layout.Split,
    config: ConfigDict,
    patch_size: int,
    seed: int,
    epochs: int,
    max_buckets: int,
) -> TrainPlan:
    """Draws the lengths of the epochs of all stages, and finds the buckets that serve all of them.

    `config` is `config.data`, whose `max_buckets` may leave that number to the device. An augmented
    sequence keeps enough patches for its labels.
    """
    shortest = patch_size * np.array([validate.patches_needed(labels) for labels in split.labels])
    frames = np.stack(
        [
            lengths.augmented_frames(
                split.frames, shortest, config.max_seq_length, config.augment, seed, epoch
            )
            for epoch in range(epochs)
        ]
    )
    members = np.stack([split.members(seed, epoch) for epoch in range(epochs)])
    planned = np.take_along_axis(frames, members, axis=1)
    return TrainPlan(frames, members, find_buckets(planned.ravel(), max_buckets), seed)


@dataclasses.dataclass(frozen=True)
class BatchLoader:
    """Loads planned batches of one split: reads and pads, and computes nothing."""

    split: layout.Split
    config: ConfigDict  # config.data
    max_labels: int  # U
    train_plan: TrainPlan | None = None  # None: true lengths
    # The rows of every batch that this process reads.
    rows: slice = dataclasses.field(default_factory=lambda: slice(None))

    def __call__(self, plan: BatchPlan) -> Batch:
        """Loads one batch."""
        examples = plan.rows[self.rows]
        count, length = len(examples), plan.bucket
        if self.train_plan is not None:
            length = lengths.source_length(length, self.config.augment.speed)
        batch = Batch(
            positions=np.zeros((count, length, joints.NUM_JOINTS, 3), np.float32),
            confidence=np.zeros((count, length, len(joints.HANDS)), np.float32),
            source_frames=np.zeros(count, np.int32),
            frames=np.zeros(count, np.int32),
            labels=np.zeros((count, self.max_labels), np.int32),
            label_lengths=np.zeros(count, np.int32),
            example=examples.astype(np.int32),
            epoch=np.full(count, plan.epoch, np.int32),
            length=plan.bucket,
        )
        for row, example in enumerate(examples):
            if example < 0:
                continue
            positions, confidence = self.split.keypoints(example)
            frames, labels = len(positions), self.split.labels[example]
            batch.positions[row, :frames], batch.confidence[row, :frames] = positions, confidence
            batch.source_frames[row] = batch.frames[row] = frames
            if self.train_plan is not None:
                batch.frames[row] = self.train_plan.frames[plan.epoch, example]
            batch.labels[row, : len(labels)] = labels
            batch.label_lengths[row] = len(labels)
        return batch


def load_ahead(
    loader: BatchLoader, plans: Sequence[BatchPlan], threads: int
) -> grain.IterDataset[Batch]:
    """Loads planned batches in their order, ahead of time on threads; 0 reads each when asked for."""
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return grain.MapDataset.source(plans).map(loader).to_iter_dataset(read)


def plan_evaluation(
    split: layout.Split, buckets: tuple[int, ...], batch_size: int
) -> list[BatchPlan]:
    """Plans batches with every example of a split once, shortest first, in the buckets of training.

    A split that has longer examples gets one bucket more.
    """
    longest = find_buckets(split.frames, 1)
    more = longest if longest > buckets[-1:] else ()
    return plan_epoch(split.frames, buckets + more, batch_size)

"""The grain pipeline: from plans of batches to typed `Batch`es, loaded on threads.

Grain has no bucketing. Here the whole run's batches are planned from lengths alone, before anything
is read: which examples, in which epoch, padded to what. Batch i is then a pure function of (seed, i),
so that grain's iterator state is a single index, every epoch sees every example exactly once, and all
processes agree on every shape.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.data import augment, layout, normalize, validate
from wsign_jax.data.buckets import BatchPlan, find_buckets, plan_epoch
from wsign_jax.keypoints import joints

_SHUFFLE = 2  # the stream of random numbers that orders batches; augment.py uses 0 and 1


# Of numpy as loaded, of jax once on devices; this package knows only the first.
Array = Any


class Batch(NamedTuple):
    """One padded batch. A masked row has 0 frames, no labels and example -1."""

    features: Array  # (B, T, 42, 7) float32, normalized, zeros beyond `frames`
    frames: Array  # (B,) int32
    labels: Array  # (B, U) int32 gloss ids, 0 beyond `label_lengths`
    label_lengths: Array  # (B,) int32
    example: Array  # (B,) int32 index into the split


@dataclasses.dataclass(frozen=True)
class TrainPlan:
    """Every batch of a run's epochs, planned from lengths alone."""

    frames: np.ndarray  # (epochs, n) int32 augmented lengths
    buckets: tuple[int, ...]  # the same for all stages: one compiled shape each
    seed: int

    def epoch(self, epoch: int, batch_size: int) -> list[BatchPlan]:
        """The batches of one epoch in their random order."""
        rng = np.random.default_rng([self.seed, epoch, _SHUFFLE])
        return plan_epoch(self.frames[epoch], self.buckets, batch_size, epoch, rng)


def plan_training(
    split: layout.Split, config: ConfigDict, patch_size: int, seed: int, epochs: int
) -> TrainPlan:
    """Draws every epoch's lengths and finds the buckets that serve all of them.

    Args:
        split: the training examples.
        config: `config.data`.
        patch_size: frames a patch; an augmented sequence keeps patches enough for its labels.
        seed: of the run.
        epochs: of all stages together.
    """
    shortest = patch_size * np.array([validate.patches_needed(labels) for labels in split.labels])
    frames = np.stack(
        [
            augment.augmented_frames(
                split.frames, shortest, config.max_seq_length, config.augment, seed, epoch
            )
            for epoch in range(epochs)
        ]
    )
    return TrainPlan(frames, find_buckets(frames.ravel(), config.max_buckets), seed)


@dataclasses.dataclass(frozen=True)
class BatchLoader:
    """Loads planned batches of one split: read, augment, normalize, pad."""

    split: layout.Split
    config: ConfigDict  # config.data
    max_labels: int  # U
    train_plan: TrainPlan | None = None  # None: nothing is augmented
    rows: slice = dataclasses.field(
        default_factory=lambda: slice(None)
    )  # the rows of every batch that this process reads

    def __call__(self, plan: BatchPlan) -> Batch:
        """Loads one batch."""
        examples = plan.rows[self.rows]
        shape = (len(examples), plan.bucket, joints.NUM_JOINTS, joints.NUM_FEATURES)
        batch = Batch(
            features=np.zeros(shape, np.float32),
            frames=np.zeros(len(examples), np.int32),
            labels=np.zeros((len(examples), self.max_labels), np.int32),
            label_lengths=np.zeros(len(examples), np.int32),
            example=examples.astype(np.int32),
        )
        for row, example in enumerate(examples):
            if example < 0:
                continue
            features = self._features(int(example), plan.epoch)
            labels = self.split.labels[example]
            batch.features[row, : len(features)] = features
            batch.frames[row] = len(features)
            batch.labels[row, : len(labels)] = labels
            batch.label_lengths[row] = len(labels)
        return batch

    def _features(self, example: int, epoch: int) -> np.ndarray:
        """(T, 42, 7) normalized features of one example, augmented in training."""
        features = self.split.features(example)
        if self.train_plan is None:
            return normalize.normalize(features, wrist_place=self.config.wrist_place)[0]
        features, hidden = augment.augment(
            features,
            int(self.train_plan.frames[epoch, example]),
            self.config.augment,
            (self.train_plan.seed, epoch, example),
        )
        normalized, _ = normalize.normalize(features, wrist_place=self.config.wrist_place)
        augment.hide_joints(normalized, hidden)
        return normalized


def training_dataset(
    loader: BatchLoader, plans: Sequence[BatchPlan], threads: int
) -> grain.IterDataset[Batch]:
    """Planned batches in their order, read ahead on threads.

    Args:
        loader: of the training split.
        plans: the batches.
        threads: that read ahead; 0 reads when asked.
    """
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return grain.MapDataset.source(plans).map(loader).to_iter_dataset(read)


def plan_evaluation(split: layout.Split, batch_size: int, max_buckets: int) -> list[BatchPlan]:
    """Every example of a split once, shortest first."""
    return plan_epoch(split.frames, find_buckets(split.frames, max_buckets), batch_size)

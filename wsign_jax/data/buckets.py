"""Buckets: a few padded lengths, each with one compiled shape, that waste few frames.

Share of the computed frames that are real, on the PHOENIX-2014 lengths: 22.5 % if everything is padded
to 1500 frames, 64 % for random batches padded to their longest, 84 % for the best four buckets, 91 % for
the best eight, 94 % for the best twelve.
"""

import dataclasses

import numpy as np

from wsign_jax.common.errors import WSignError

MULTIPLE = 32  # frames; patches of four then come in eights, which matrix units want


def find_buckets(frames: np.ndarray, count: int) -> tuple[int, ...]:
    """Finds up to `count` padded lengths that waste the fewest frames.

    Dynamic programming over multiples of 32: cost(j, k) = min over i < j of cost(i, k - 1) plus the
    padded frames of all sequences longer than length i and at most length j.

    Returns:
        Increasing lengths; the longest of the (n,) `frames` fits into the last.
    """
    if len(frames) == 0 or count < 1:
        raise WSignError(f"no buckets for {len(frames)} sequences and data.max_buckets={count}")
    units = -(-np.asarray(frames, np.int64) // MULTIPLE)
    # sequences[j]: how many have at most j units.
    sequences = np.concatenate([[0], np.cumsum(np.bincount(units)[1:])])
    longest = len(sequences) - 1
    lengths = np.arange(longest + 1)
    # padded[i, j]: units computed for the sequences of more than i and at most j units.
    padded = np.where(
        lengths[:, None] < lengths, (sequences - sequences[:, None]) * lengths, np.inf
    )
    cost = np.full(longest + 1, np.inf)
    cost[0] = 0.0
    choices = []
    for _ in range(min(count, longest)):
        through = cost[:, None] + padded
        choices.append(np.argmin(through, axis=0))
        cost = np.minimum(np.min(through, axis=0), np.where(lengths == 0, 0.0, np.inf))
    ends: list[int] = []
    end = longest
    for choice in reversed(choices):
        if end == 0:
            break
        ends.append(int(end) * MULTIPLE)
        end = choice[end]
    return tuple(reversed(ends))


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The examples of one batch: all that is needed to load it, anywhere and at any time."""

    epoch: int  # counted over the whole run; a part of the augmentation's key
    bucket: int  # frames that every row is padded to
    rows: np.ndarray  # (B,) int32 index into the split; -1 is a masked row


def plan_epoch(
    frames: np.ndarray,
    buckets: tuple[int, ...],
    batch_size: int,
    epoch: int = 0,
    rng: np.random.Generator | None = None,
) -> list[BatchPlan]:
    """Plans an epoch: every example exactly once, in batches of one bucket each.

    Examples that do not fill a batch move up to the next bucket, because some padding there costs less
    than masked rows here. Only the last batch of all can have masked rows; no example is ever dropped.

    `frames` are the (n,) lengths, and `buckets` increase. `rng` shuffles examples and batches; None
    keeps the order of lengths, for evaluation.

    Raises:
        WSignError: a length is over the last bucket.
    """
    bucket_of = np.searchsorted(buckets, frames)
    if len(frames) and bucket_of.max() == len(buckets):
        raise WSignError(f"{frames.max()} frames are over the longest bucket, {buckets[-1]}")
    waiting = np.array([], np.int32)
    plans: list[BatchPlan] = []
    for number, bucket in enumerate(buckets):
        members = np.flatnonzero(bucket_of == number).astype(np.int32)
        if rng is not None:
            rng.shuffle(members)
        members = np.concatenate([waiting, members])
        full = len(members) - len(members) % batch_size
        plans += [BatchPlan(epoch, bucket, rows) for rows in members[:full].reshape(-1, batch_size)]
        waiting = members[full:]
    if len(waiting):
        rows = np.full(batch_size, -1, np.int32)
        rows[: len(waiting)] = waiting
        bucket = buckets[int(bucket_of[waiting].max())]
        plans.append(BatchPlan(epoch, bucket, rows))
    if rng is not None:
        rng.shuffle(plans)
    return plans


def padding_efficiency(plans: list[BatchPlan], frames: np.ndarray) -> float:
    """The share of the computed frames that are real; masked rows count as computed."""
    computed = sum(plan.bucket * len(plan.rows) for plan in plans)
    real = sum(int(frames[plan.rows[plan.rows >= 0]].sum()) for plan in plans)
    return real / computed

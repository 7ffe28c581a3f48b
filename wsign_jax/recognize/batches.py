"""Plans the batches of a call, whose recordings have any lengths."""

from collections.abc import Sequence

import numpy as np

from wsign_jax.data.buckets import MULTIPLE, BatchPlan, find_buckets, plan_epoch

# Every shape of a batch is compiled. So there are few lengths, each at most an eighth above the one
# before, and few numbers of rows.
_LENGTHS_A_CALL = 4
_ROWS = 16
_FRAMES_A_BATCH = _ROWS * 1536


def padded_length(frames: int) -> int:
    """The next of the lengths that batches have: at most eight per octave, the first one 32."""
    step = max(MULTIPLE, 2 ** (max(frames - 1, 0).bit_length() - 4))
    return -(-frames // step) * step


def plan_batches(frames: Sequence[int]) -> list[BatchPlan]:
    """Batches of few shapes that hold sequences of these lengths."""
    if not frames:
        return []
    lengths = np.array([padded_length(n) for n in frames])
    rows = min(_ROWS, _power_of_two(len(frames)))
    while rows > 1 and rows * lengths.max() > _FRAMES_A_BATCH:
        rows //= 2
    *plans, last = plan_epoch(lengths, find_buckets(lengths, _LENGTHS_A_CALL), rows)
    # Masked rows cost as much as real ones.
    real = int(np.count_nonzero(last.rows >= 0))
    return [*plans, BatchPlan(last.epoch, last.bucket, last.rows[: _power_of_two(real)])]


def _power_of_two(count: int) -> int:
    """The smallest power of two that is not below `count`."""
    return 1 << (count - 1).bit_length()

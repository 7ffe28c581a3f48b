"""The model's first layer: raw keypoints in, normalized features out; the same in a stream as offline.

Velocities come first: central differences of positions, as `keypoints.joints` has them. Normalization
follows. For each hand, positions become relative to the wrist, and finger velocities relative to the
wrist's; both are measured in hand sizes. The hand's size at frame t is a running mean over the frames up
to t. It never looks ahead; velocities look one frame ahead.

Everything is float32, and made of operations that `jax.export` takes with a symbolic T, that jax2onnx
converts, and that no accelerator works through frame by frame.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.keypoints import joints

# The n-th seen frame has the weight max(1/n, 1/300): a mean at first, then a 5-second memory.
MEMORY_FRAMES = 300
# Image widths. A hand seen edge-on has almost no length in the picture; never divide by that.
SMALLEST_HAND = 0.02
# A symbolic T is taken to be at most this, 36 minutes.
_MOST_FRAMES = 2**17

_IS_LEFT = np.arange(joints.NUM_JOINTS) < joints.LEFT.stop
_IS_WRIST = np.isin(np.arange(joints.NUM_JOINTS), joints.WRISTS)
_KNUCKLES = [hand.start + joints.MIDDLE_KNUCKLE for hand in joints.HANDS]


class FeatureState(NamedTuple):
    """The state that a stream carries from chunk to chunk; hands are left, then right."""

    # (B, 2) float32 running mean of the wrist-to-middle-knuckle length, image widths
    size: jax.Array
    seen: jax.Array  # (B, 2) int32 frames in which the hand was seen; counted up to MEMORY_FRAMES
    # The frame before the chunk.
    positions: jax.Array  # (B, J, 3) float32
    confidence: jax.Array  # (B, 2) float32
    exists: jax.Array  # (B,) bool; False at the beginning of a stream


def initial_state(rows: int) -> FeatureState:
    """Returns the state of B = `rows` streams before their first frame."""
    hands = rows, len(joints.HANDS)
    return FeatureState(
        size=jnp.zeros(hands, jnp.float32),
        seen=jnp.zeros(hands, jnp.int32),
        positions=jnp.zeros((rows, joints.NUM_JOINTS, 3), jnp.float32),
        confidence=jnp.zeros(hands, jnp.float32),
        exists=jnp.zeros(rows, bool),
    )


def features_of_sequences(
    positions: jax.Array, confidence: jax.Array, frames: jax.Array, *, wrist_place: bool
) -> jax.Array:
    """Computes the normalized features of whole sequences.

    Args:
        positions: (B, T, J, 3) float32, image widths; ignored where the hand is absent.
        confidence: (B, T, 2) float32, left and right hand, 0 where the hand was not seen.
        frames: (B,) int32 valid frames; what lies beyond them changes nothing.
        wrist_place: keeps the wrist's own place and velocity (image widths) in the wrist's row, which
            would be zero once the wrist is subtracted. The place of a sign tells signs apart.

    Returns:
        (B, T, J, F) float32, all zeros if a hand is absent, and beyond `frames`.
    """
    features, _ = features_of_chunk(
        jnp.pad(positions, ((0, 0), (0, 1), (0, 0), (0, 0))),
        jnp.pad(confidence, ((0, 0), (0, 1), (0, 0))),
        jnp.zeros_like(frames),
        frames,
        initial_state(positions.shape[0]),
        wrist_place=wrist_place,
    )
    return features


def features_of_chunk(
    positions: jax.Array,
    confidence: jax.Array,
    begin: jax.Array,
    end: jax.Array,
    state: FeatureState,
    *,
    wrist_place: bool,
) -> tuple[jax.Array, FeatureState]:
    """Computes the normalized features of a stream's next T frames, as for the whole stream.

    Args:
        positions: (B, T + 1, J, 3) as in `features_of_sequences`: the T frames, and the one after them,
            which is only looked at, for the velocity of the T-th. The next call gives it again.
        confidence: (B, T + 1, 2), likewise.
        begin: (B,) int32 the first frame that belongs to the stream, below T; above 0 only in its first
            chunk.
        end: (B,) int32 the frame after the last that does; T + 1 or more while the stream goes on.
        state: from `initial_state` or the call before.
        wrist_place: as in `features_of_sequences`.

    Returns:
        (B, T, J, F) float32, and the state after the T frames.
    """
    # One frame before, T frames, one after.
    number = jnp.arange(positions.shape[1], dtype=jnp.int32)[None]
    exists = (number >= begin[:, None]) & (number < end[:, None])
    exists = jnp.concatenate([state.exists[:, None], exists], axis=1)[..., None]
    sure = jnp.concatenate([state.confidence[:, None], confidence], axis=1)
    sure = jnp.where(exists, sure, 0.0)
    seen = sure > 0
    # A reshape from joints to hands would take longer on a CPU than all the rest.
    hands = jnp.concatenate([state.positions[:, None], positions], axis=1)
    hands = jnp.where(spread_over_joints(sure)[..., None] > 0, hands, 0.0)
    is_wrist = _IS_WRIST[None, None]
    placed = hands - jnp.where(is_wrist[..., None], 0.0, wrists_of_joints(hands))

    # A neighbor that does not exist does not count as absent: there the difference has one side.
    has_before, _, has_after = _before_here_after(exists)
    was_seen, now, will_be_seen = _before_here_after(seen)
    steady = now & (was_seen | ~has_before) & (will_be_seen | ~has_after)
    sides = has_before.astype(jnp.float32) + has_after.astype(jnp.float32)
    rate = jnp.where(steady, joints.FPS / jnp.maximum(sides, 1.0), 0.0)
    before, place, after = _before_here_after(placed)
    before = jnp.where(has_before[..., None], before, place)
    after = jnp.where(has_after[..., None], after, place)

    knuckles = jnp.concatenate([place[:, :, slice(k, k + 1)] for k in _KNUCKLES], axis=2)
    lengths = jnp.sqrt(jnp.sum(knuckles**2, axis=-1))
    sizes, counts = _running_sizes(lengths, now, state.size, state.seen)
    unit = spread_over_joints(1.0 / jnp.maximum(sizes, SMALLEST_HAND))
    unit = jnp.where(is_wrist, float(wrist_place), unit)
    features = jnp.concatenate(
        [
            place * unit[..., None],
            (after - before) * (spread_over_joints(rate) * unit)[..., None],
            spread_over_joints(sure[:, 1:-1])[..., None],
        ],
        axis=-1,
    )
    return features, FeatureState(
        sizes[:, -1], counts[:, -1], positions[:, -2], confidence[:, -2], exists[:, -2, 0]
    )


def spread_over_joints(hands: jax.Array) -> jax.Array:
    """Gives each joint its hand's number: (B, T, 2) -> (B, T, J)."""
    return jnp.where(_IS_LEFT[None, None], hands[..., :1], hands[..., 1:])


def wrists_of_joints(positions: jax.Array) -> jax.Array:
    """Gives each joint its wrist: (B, T, J, 3) -> (B, T, J, 3)."""
    left, right = joints.WRISTS
    is_left = _IS_LEFT[None, None, :, None]
    return jnp.where(is_left, positions[:, :, left, None], positions[:, :, right, None])


def _before_here_after(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the frames 0 to T - 1, 1 to T and 2 to T + 1 of (B, T + 2, ...)."""
    return x[:, :-2], x[:, 1:-1], x[:, 2:]


def _running_sizes(
    lengths: jax.Array, seen: jax.Array, size: jax.Array, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes the running mean of (B, T, 2) lengths over the frames in which the hand is seen.

    size[t] = size[t - 1] + weight[t] (length[t] - size[t - 1]) is linear in the size before. Four such
    steps make one, so log4(T) rounds make all.

    Returns:
        (B, T, 2) means, and the numbers of frames seen so far, counted up to `MEMORY_FRAMES`.
    """
    frames = lengths.shape[1]
    most = frames if isinstance(frames, int) else _MOST_FRAMES
    rounds = [4**power for power in range(-(-(most - 1).bit_length() // 2))]
    counts = seen.astype(jnp.int32)
    for step in rounds:
        n, n1, n2, n3 = _steps_ago(counts, step)
        counts = n + n1 + n2 + n3
    counts = jnp.minimum(counts + count[:, None], MEMORY_FRAMES)
    weights = jnp.where(seen, 1.0 / jnp.maximum(counts, 1).astype(jnp.float32), 0.0)
    kept, added = 1.0 - weights, weights * lengths
    for step in rounds:
        k, k1, k2, k3 = _steps_ago(kept, step, 1.0)
        a, a1, a2, a3 = _steps_ago(added, step)
        kept, added = k * k1 * k2 * k3, a + k * (a1 + k1 * (a2 + k2 * a3))
    return added + kept * size[:, None], counts


def _steps_ago(x: jax.Array, step: int, before: float = 0) -> list[jax.Array]:
    """Returns (B, T, 2) now, and 1, 2 and 3 steps of some frames ago; `before` is what preceded it."""
    padding = ((0, 0), (3 * step, 0), (0, 0))
    padded = jnp.pad(x, padding, constant_values=before)
    return [x, *(padded[:, end * step : (end - 3) * step] for end in (2, 1, 0))]

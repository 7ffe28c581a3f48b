"""Seeded augmentation on the device, on positions, before velocities and normalization.

Each example is changed into what another camera, signer or moment might have shown. Changes to the
tracker's output come first: speed, place, size, view, noise, and frames in which a hand is lost. Joint
masking, which hides joints from the model only, comes after normalization, which needs the wrists.

All random numbers come from (seed, epoch, example), so they can be drawn again from those alone: `draw`
gives a row the same ones whatever the rest of its batch, its padding, or the devices. `change` is plain
arithmetic. The new length of a sequence is drawn on the host, since its bucket depends on it; see
`data.lengths`. What a config switches off costs nothing.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.model.features import spread_over_joints, wrists_of_joints
from wsign_jax.model.layers import HASHED
from wsign_jax.model.whisper_sign import WhisperSign

# Frames between the knots of the random time warp: slower than a hand, faster than a sign.
_JITTER_KNOTS = 15
_MOST_CUT = 0.2  # share of a sequence
_CENTER = 0.5, 0.5, 0.0  # of the picture

_VIEW = 7  # numbers for the view: mirror, turn, scale, shift
# Streams of their own among an example's random numbers.
_NOISE, _HANDS, _SECOND_VIEW = 1, 2, 3
# The joint before each on its way from the wrist; a wrist has itself.
_PARENTS = np.arange(joints.NUM_JOINTS)
for _hand in joints.HANDS:
    for _finger in joints.FINGERS:
        _before = [joints.WRIST, *_finger[:-1]]
        _PARENTS[_hand.start + np.array(_finger)] = _hand.start + np.array(_before)
# Whether the bone that ends in one joint lies on the way from the wrist to another: (bones, joints).
_ON_THE_WAY = np.eye(joints.NUM_JOINTS, dtype=np.float32)
for _joint in joints.FINGERS[0]:  # as often as a finger has joints
    _ON_THE_WAY = np.maximum(_ON_THE_WAY, _ON_THE_WAY[:, _PARENTS])


class Draws(NamedTuple):
    """An epoch's random numbers of B examples: uniform in [0, 1) but for the noise.

    None, where the type allows it, stands for something that the config switches off.
    """

    mirror: jax.Array  # (B,)
    turn: jax.Array  # (B, 3) roll, pitch and yaw
    scale: jax.Array  # (B,)
    shift: jax.Array  # (B, 2) right and down
    hidden: jax.Array  # (B, J)
    jitter: jax.Array | None  # (B, knots)
    lost: jax.Array | None  # (B, stretches, 3) whether, how many and from where
    noise: jax.Array | None  # (B, T, J, 3) of mean 0 and variance 1
    shear: jax.Array  # (B, 2) of width by height and of height by width
    bones: jax.Array | None  # (B, J, 4) angles and length
    hand_lost: jax.Array | None  # (B, hands, stretches, 3) as `lost`
    cut: jax.Array  # (B, 2) how many frames and from where
    skip_frames: jax.Array  # (B,)


def augmented_features(
    model: WhisperSign,
    batch: Batch[jax.Array],
    seed: int,
    config: ConfigDict,
    *,
    second_view: bool = False,
) -> jax.Array:
    """Returns the (B, T, J, F) normalized features of a training batch, augmented.

    Args:
        model: normalizes.
        batch: the batch.
        seed: of the run.
        config: `data.augment`.
        second_view: takes other random numbers, but for the pace: a patch shows the same moment.
    """
    keys = example_keys(seed, batch.epoch, batch.example)
    draws = draw(keys, batch.positions.shape[1], batch.length, config)
    if second_view:
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _SECOND_VIEW)
        other = draw(keys, batch.positions.shape[1], batch.length, config)
        draws = other._replace(jitter=draws.jitter, cut=draws.cut)
    positions, confidence, hidden = change(
        batch.positions,
        batch.confidence,
        batch.source_frames,
        batch.frames,
        draws,
        config,
        batch.length,
    )
    return hide_joints(model.features(positions, confidence, batch.frames), hidden)


def example_keys(seed: int, epoch: jax.Array, example: jax.Array) -> jax.Array:
    """Returns the (B,) random keys of the (B,) examples in their (B,) epochs."""
    keys = jnp.broadcast_to(jax.random.key(seed, impl=HASHED), example.shape)
    fold_in = jax.vmap(jax.random.fold_in)
    return fold_in(fold_in(keys, epoch), example)


def hide_joints(features: jax.Array, hidden: jax.Array) -> jax.Array:
    """Sets the (B, J) hidden joints of normalized features (B, T, J, F) to 0, confidence too."""
    return jnp.where(hidden[:, None, :, None], 0.0, features)


def draw(keys: jax.Array, source_length: int, length: int, config: ConfigDict) -> Draws:
    """Draws the random numbers of examples.

    Args:
        keys: (B,) from `example_keys`.
        source_length: S, frames as on disk.
        length: T, the bucket.
        config: `data.augment`.

    With `HASHED`, the n-th number of an array depends on the key and n alone. So a longer array, of
    longer padding, begins with the same numbers.
    """
    knots = math.ceil(source_length / _JITTER_KNOTS) + 1
    stretches = math.ceil(length / config.temporal_mask_frames)
    of_view = _VIEW + joints.NUM_JOINTS
    count = max(of_view + 5, knots, stretches)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (count, 5)))(keys)
    view = uniform[..., 0]
    noise = None
    if config.noise:
        noise = jax.vmap(_nearly_normal, (0, None))(keys, (length, joints.NUM_JOINTS, 3))
    hand_count = max(joints.NUM_JOINTS, len(joints.HANDS) * stretches)
    hands = jax.vmap(
        lambda key: jax.random.uniform(jax.random.fold_in(key, _HANDS), (hand_count, 7))
    )(keys)
    hand_lost = hands[:, : len(joints.HANDS) * stretches, 4:]
    return Draws(
        mirror=view[:, 0],
        turn=view[:, 1:4],
        scale=view[:, 4],
        shift=view[:, 5:_VIEW],
        hidden=view[:, _VIEW:of_view],
        jitter=uniform[:, :knots, 1] if config.jitter else None,
        lost=uniform[:, :stretches, 2:] if config.temporal_mask else None,
        noise=noise,
        shear=view[:, of_view : of_view + 2],
        bones=hands[:, : joints.NUM_JOINTS, :4] if config.bend or config.bones else None,
        hand_lost=hand_lost.reshape(-1, stretches, len(joints.HANDS), 3)
        if config.hand_mask
        else None,
        cut=view[:, of_view + 2 : of_view + 4],
        skip_frames=view[:, of_view + 4],
    )


def _nearly_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws numbers of mean 0 and variance 1: sums of four random bytes.

    A byte has variance (256^2 - 1) / 12. No number is beyond 3.5 standard deviations. On a CPU they take
    a fraction of the time of normal ones.
    """
    bits = jax.random.bits(jax.random.fold_in(key, _NOISE), shape)
    total = sum((bits >> shift) & 255 for shift in (8, 16, 24)) + (bits & 255)
    return (total.astype(jnp.float32) - 510.0) / math.sqrt((256**2 - 1) / 3)


def change(
    positions: jax.Array,
    confidence: jax.Array,
    source_frames: jax.Array,
    frames: jax.Array,
    draws: Draws,
    config: ConfigDict,
    length: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Changes training examples as drawn.

    Args:
        positions: (B, S, J, 3) float32 as on disk, y in image widths.
        confidence: (B, S, 2) float32, left and right hand, 0 where the hand was not seen.
        source_frames: (B,) int32 valid frames of these.
        frames: (B,) int32 their new lengths, from `lengths.augmented_frames`.
        draws: from `draw`.
        config: `data.augment`.
        length: T, the bucket.

    Returns:
        (B, T, J, 3) positions, which mean nothing where the hand is absent; (B, T, 2) confidence, 0
        beyond `frames`; and the (B, J) joints to hide with `hide_joints` after normalization.
    """
    number = jnp.arange(length, dtype=jnp.int32)[None]
    if config.speed or config.jitter or config.cut or config.skip_frames:
        times = _sample_times(number, source_frames, frames, draws, config)
        apart = 1.0 + config.skip_frames * draws.skip_frames
        positions, confidence = _sample(positions, confidence, source_frames, times, apart)
    else:
        positions, confidence = positions[:, :length], confidence[:, :length]
    if config.mirror:
        mirrored = draws.mirror < config.mirror
        positions, confidence = _mirror(positions, confidence, mirrored)
    if draws.bones is not None:
        positions = _other_hands(positions, draws.bones, config)
    if config.rotation or config.tilt or config.scale or config.shift or config.shear:
        positions = _move(positions, draws, config)
    if draws.noise is not None:
        positions = positions + config.noise * draws.noise
    valid = number < frames[:, None]
    if draws.lost is not None:
        valid &= ~_lost_frames(draws.lost, config.temporal_mask, config)[:, :length]
    confidence = jnp.where(valid[..., None], confidence, 0.0)
    if draws.hand_lost is not None:
        hands = [
            _lost_frames(draws.hand_lost[:, :, hand], config.hand_mask, config)[:, :length]
            for hand in range(len(joints.HANDS))
        ]
        confidence = jnp.where(jnp.stack(hands, axis=-1), 0.0, confidence)
    return positions, confidence, draws.hidden < config.joint_mask


def _sample_times(
    number: jax.Array,
    source_frames: jax.Array,
    frames: jax.Array,
    draws: Draws,
    config: ConfigDict,
) -> jax.Array:
    """The (B, T) increasing times in source frames: evenly spaced but for a cut, warped by `jitter`."""
    last = jnp.maximum(source_frames - 1, 0)[:, None]
    # Whole numbers before the division: an unchanged length gives whole times.
    times = (number * last).astype(jnp.float32)
    times /= jnp.maximum(frames - 1, 1)[:, None].astype(jnp.float32)
    if config.cut:
        end = last.astype(jnp.float32)
        cut = jnp.minimum(config.cut * draws.cut[:, :1], _MOST_CUT * end)
        times *= 1.0 - cut / jnp.maximum(end, 1.0)
        times += jnp.where(times > draws.cut[:, 1:] * (end - cut), cut, 0.0)
    if draws.jitter is not None:
        # Linear between knots: each knot adds a hat as wide as its two neighbors are apart.
        knots = jnp.arange(draws.jitter.shape[1], dtype=jnp.float32)[None, None]
        hats = jnp.maximum(1.0 - jnp.abs(times[..., None] / _JITTER_KNOTS - knots), 0.0)
        times += jnp.sum(hats * (config.jitter * (2.0 * draws.jitter - 1.0))[:, None], axis=-1)
    return jnp.clip(times, 0.0, last.astype(jnp.float32))


def _sample(
    positions: jax.Array,
    confidence: jax.Array,
    source_frames: jax.Array,
    times: jax.Array,
    apart: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Interpolates positions (B, S, J, 3) and confidence (B, S, 2) at fractional times (B, T).

    Between the frames that a camera with a picture every (B,) `apart` frames would have taken. If a hand
    is seen in only one of the two around a time, the nearer one decides. A hand is never blended with
    the zeros of its absence.
    """
    picture = jnp.floor(times / apart[:, None])
    before, after = (
        jnp.round((picture + more) * apart[:, None]).astype(jnp.int32) for more in (0.0, 1.0)
    )
    after = jnp.minimum(after, jnp.maximum(source_frames - 1, 0)[:, None])
    span = jnp.maximum(after - before, 1).astype(jnp.float32)
    weight = jnp.clip((times - before.astype(jnp.float32)) / span, 0.0, 1.0)[..., None]
    sure, next_sure = _frames_at(confidence, before), _frames_at(confidence, after)
    weight = jnp.where((sure > 0) & (next_sure > 0), weight, jnp.round(weight))
    place, next_place = _frames_at(positions, before), _frames_at(positions, after)
    place += (next_place - place) * spread_over_joints(weight)[..., None]
    return place, sure * (1.0 - weight) + next_sure * weight


def _frames_at(x: jax.Array, numbers: jax.Array) -> jax.Array:
    """Takes the (B, T) frames of (B, S, ...)."""
    return jax.vmap(lambda row, at: row.at[at].get(mode="promise_in_bounds"))(x, numbers)


def _mirror(
    positions: jax.Array, confidence: jax.Array, mirrored: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mirrors the (B,) mirrored rows, as a left-handed twin would sign: flips x, swaps hands."""
    left, right = positions[:, :, joints.LEFT], positions[:, :, joints.RIGHT]
    swapped = jnp.concatenate([right, left], axis=2)
    flip, shift = jnp.array([[[[-1.0, 1.0, 1.0]]], [[[1.0, 0.0, 0.0]]]])
    swapped = swapped * flip[None] + shift[None]
    return (
        jnp.where(mirrored[:, None, None, None], swapped, positions),
        jnp.where(mirrored[:, None, None], confidence[:, :, ::-1], confidence),
    )


def _move(positions: jax.Array, draws: Draws, config: ConfigDict) -> jax.Array:
    """Turns, scales and shifts around the picture's middle, and tilts each hand around its wrist."""
    most = jnp.radians(jnp.array([config.rotation, config.tilt, config.tilt], jnp.float32))
    roll, pitch, yaw = jnp.moveaxis(_rotations((2.0 * draws.turn - 1.0) * most[None]), 1, 0)
    if config.shear:
        roll = _multiply(roll, jnp.eye(3)[None] + config.shear * _sheared(draws.shear))
    scale = jnp.exp((2.0 * draws.scale - 1.0) * math.log1p(config.scale))[:, None, None]
    shift = (2.0 * draws.shift - 1.0) * config.shift
    center = jnp.array(_CENTER)
    place = jnp.pad(shift, ((0, 0), (0, 1))) + center[None]
    view = jnp.einsum("bij,bjk,bkl->bil", yaw, pitch, roll, precision=jax.lax.Precision.HIGHEST)
    # wrist' = (wrist - center) roll + center + shift, joint' = (joint - wrist) view + wrist'
    wrists = wrists_of_joints(positions)
    return (
        _product((scale * view)[:, None, None], positions - wrists)
        + _product((scale * roll)[:, None, None], wrists - center[None, None, None])
        + place[:, None, None]
    )


def _other_hands(positions: jax.Array, draws: jax.Array, config: ConfigDict) -> jax.Array:
    """Bends fingers and changes the lengths of bones, for a whole sentence, as other people's hands.

    Each bone is turned by up to `bend` around each axis, and with it all that hangs on it, as a joint
    does. Bones from the wrist are not turned. Each bone is up to `bones` longer or shorter.
    """
    rows = len(draws)
    angles = (2.0 * draws[..., :3] - 1.0) * math.radians(config.bend)
    turns = _rotations(angles.reshape(-1, 3))
    turn = _multiply(_multiply(turns[:, 2], turns[:, 1]), turns[:, 0])
    fingers = turn.reshape(rows, len(joints.HANDS), joints.JOINTS_PER_HAND, 3, 3)[:, :, 1:]
    _, second, third, last = jnp.moveaxis(fingers.reshape(rows, -1, 4, 3, 3), 2, 0)
    third = _multiply(second, third)
    last = _multiply(third, last)
    one = jnp.broadcast_to(jnp.eye(3), second.shape)
    fingers = jnp.stack([one, second, third, last], axis=2)
    fingers = fingers.reshape(rows, len(joints.HANDS), -1, 3, 3)
    turn = jnp.concatenate([fingers[:, :, :1], fingers], axis=2)  # a wrist's bone has no length
    length = jnp.exp((2.0 * draws[..., 3] - 1.0) * math.log1p(config.bones))
    matrices = turn.reshape(rows, -1, 3, 3) * length[..., None, None]
    bones = _product(matrices[:, None], positions - positions[:, :, _PARENTS])
    precision = jax.lax.Precision.HIGHEST
    placed = jnp.einsum("btkx,kj->btjx", bones, _ON_THE_WAY, precision=precision)
    return wrists_of_joints(positions) + placed


def _multiply(first: jax.Array, second: jax.Array) -> jax.Array:
    """Multiplies (..., 3, 3) matrices, in float32 on every backend."""
    return jnp.matmul(first, second, precision=jax.lax.Precision.HIGHEST)


def _rotations(angles: jax.Array) -> jax.Array:
    """The (B, 3, 3, 3) rotations around z, x and y, one matrix for each of the (B, 3) radians.

    By Rodrigues' formula: 1 + sin K + (1 - cos) K^2, where K is the cross product with the axis.
    """
    cross = np.zeros((3, 3, 3), np.float32)
    for number, axis in enumerate((2, 0, 1)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        cross[number, second, first], cross[number, first, second] = 1.0, -1.0
    sin, cos = (f(angles)[..., None, None] for f in (jnp.sin, jnp.cos))
    one = jnp.eye(3)[None, None]
    return one + sin * cross[None] + (1.0 - cos) * (cross @ cross)[None]


def _sheared(draws: jax.Array) -> jax.Array:
    """The (B, 3, 3) matrices that add up to y to x and up to x to y, as (B, 2) draws say."""
    shares = jnp.pad(2.0 * draws - 1.0, ((0, 0), (0, 1)))  # of the rows for x, y and z
    return shares[..., None] * jnp.array([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])


def _product(matrices: jax.Array, points: jax.Array) -> jax.Array:
    """Multiplies (B, T, J, 3) points by 3 x 3 matrices, each for a row, or for a joint of a row.

    As a sum of columns it is float32 on every backend, and on a CPU far faster than a matrix product.
    """
    x, y, z = (matrices[..., axis] * points[..., axis : axis + 1] for axis in range(3))
    return x + y + z


def _lost_frames(draws: jax.Array, probability: float, config: ConfigDict) -> jax.Array:
    """Tells which frames are lost: (B, stretches * `temporal_mask_frames`) bool.

    Each stretch of `temporal_mask_frames` loses 1 to that many frames in a row, with the probability.
    """
    stretch = config.temporal_mask_frames
    hit = draws[..., :1] < probability
    run = 1.0 + jnp.floor(draws[..., 1:2] * stretch)
    start = jnp.floor(draws[..., 2:] * stretch)
    # A run may reach into the next stretch.
    number = jnp.arange(2 * stretch, dtype=jnp.float32)[None, None]
    lost = hit & (number >= start) & (number < start + run)
    from_before = jnp.pad(lost[:, :-1, stretch:], ((0, 0), (1, 0), (0, 0)))
    return (lost[..., :stretch] | from_before).reshape(len(draws), -1)

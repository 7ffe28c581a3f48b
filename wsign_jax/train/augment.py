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
_CENTER = 0.5, 0.5, 0.0  # of the picture

_VIEW = 7  # numbers for the view: mirror, turn, scale, shift
_NOISE = 1  # a stream of its own among an example's random numbers


class Draws(NamedTuple):
    """An epoch's random numbers of B examples: uniform in [0, 1) but for the noise.

    None stands for what the config switches off.
    """

    mirror: jax.Array  # (B,)
    turn: jax.Array  # (B, 3) roll, pitch and yaw
    scale: jax.Array  # (B,)
    shift: jax.Array  # (B, 2) right and down
    hidden: jax.Array  # (B, J)
    jitter: jax.Array | None  # (B, knots)
    lost: jax.Array | None  # (B, stretches, 3) whether, how many and from where
    noise: jax.Array | None  # (B, T, J, 3) of mean 0 and variance 1


def augmented_features(
    model: WhisperSign, batch: Batch[jax.Array], seed: int, config: ConfigDict
) -> jax.Array:
    """Returns the (B, T, J, F) normalized features of a training batch, augmented.

    Args:
        model: normalizes.
        batch: the batch.
        seed: of the run.
        config: `data.augment`.
    """
    keys = example_keys(seed, batch.epoch, batch.example)
    positions, confidence, hidden = augment(
        batch.positions,
        batch.confidence,
        batch.source_frames,
        batch.frames,
        keys,
        config,
        batch.length,
    )
    return hide_joints(model.features(positions, confidence, batch.frames), hidden)


def example_keys(seed: int, epoch: jax.Array, example: jax.Array) -> jax.Array:
    """Returns the (B,) random keys of the (B,) examples in their (B,) epochs."""
    keys = jnp.broadcast_to(jax.random.key(seed, impl=HASHED), example.shape)
    fold_in = jax.vmap(jax.random.fold_in)
    return fold_in(fold_in(keys, epoch), example)


def augment(
    positions: jax.Array,
    confidence: jax.Array,
    source_frames: jax.Array,
    frames: jax.Array,
    keys: jax.Array,
    config: ConfigDict,
    length: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Changes training examples.

    Args:
        positions: (B, S, J, 3) float32 as on disk, y in image widths.
        confidence: (B, S, 2) float32, left and right hand, 0 where the hand was not seen.
        source_frames: (B,) int32 valid frames of these.
        frames: (B,) int32 their new lengths, from `lengths.augmented_frames`.
        keys: (B,) from `example_keys`.
        config: `data.augment`.
        length: T, the bucket.

    Returns:
        (B, T, J, 3) positions, which mean nothing where the hand is absent; (B, T, 2) confidence, 0
        beyond `frames`; and the (B, J) joints to hide with `hide_joints` after normalization.
    """
    draws = draw(keys, positions.shape[1], length, config)
    return change(positions, confidence, source_frames, frames, draws, config, length)


def hide_joints(features: jax.Array, hidden: jax.Array) -> jax.Array:
    """Sets the (B, J) hidden joints of normalized features (B, T, J, F) to 0, confidence too."""
    return jnp.where(hidden[:, None, :, None], 0.0, features)


def draw(keys: jax.Array, source_length: int, length: int, config: ConfigDict) -> Draws:
    """Draws the random numbers of examples; `source_length` is S, the rest as in `augment`.

    With `HASHED`, the n-th number of an array depends on the key and n alone. So a longer array, of
    longer padding, begins with the same numbers.
    """
    knots = math.ceil(source_length / _JITTER_KNOTS) + 1
    stretches = math.ceil(length / config.temporal_mask_frames)
    count = max(_VIEW + joints.NUM_JOINTS, knots, stretches)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (count, 5)))(keys)
    view = uniform[..., 0]
    noise = None
    if config.noise:
        noise = jax.vmap(_nearly_normal, (0, None))(keys, (length, joints.NUM_JOINTS, 3))
    return Draws(
        mirror=view[:, 0],
        turn=view[:, 1:4],
        scale=view[:, 4],
        shift=view[:, 5:_VIEW],
        hidden=view[:, _VIEW : _VIEW + joints.NUM_JOINTS],
        jitter=uniform[:, :knots, 1] if config.jitter else None,
        lost=uniform[:, :stretches, 2:] if config.temporal_mask else None,
        noise=noise,
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
    """Changes examples as drawn; arguments and results as in `augment`."""
    number = jnp.arange(length, dtype=jnp.int32)[None]
    if config.speed or config.jitter:
        times = _sample_times(number, source_frames, frames, draws.jitter, config)
        positions, confidence = _sample(positions, confidence, source_frames, times)
    else:
        positions, confidence = positions[:, :length], confidence[:, :length]
    if config.mirror:
        mirrored = draws.mirror < config.mirror
        positions, confidence = _mirror(positions, confidence, mirrored)
    if config.rotation or config.tilt or config.scale or config.shift:
        positions = _move(positions, draws, config)
    if draws.noise is not None:
        positions = positions + config.noise * draws.noise
    valid = number < frames[:, None]
    if draws.lost is not None:
        valid &= ~_lost_frames(draws.lost, config)[:, :length]
    confidence = jnp.where(valid[..., None], confidence, 0.0)
    return positions, confidence, draws.hidden < config.joint_mask


def _sample_times(
    number: jax.Array,
    source_frames: jax.Array,
    frames: jax.Array,
    jitter: jax.Array | None,
    config: ConfigDict,
) -> jax.Array:
    """The (B, T) increasing times in source frames: evenly spaced, warped by up to `jitter`."""
    last = jnp.maximum(source_frames - 1, 0)[:, None]
    # Whole numbers before the division: an unchanged length gives whole times.
    times = (number * last).astype(jnp.float32)
    times /= jnp.maximum(frames - 1, 1)[:, None].astype(jnp.float32)
    if jitter is not None:
        # Linear between knots: each knot adds a hat as wide as its two neighbors are apart.
        knots = jnp.arange(jitter.shape[1], dtype=jnp.float32)[None, None]
        hats = jnp.maximum(1.0 - jnp.abs(times[..., None] / _JITTER_KNOTS - knots), 0.0)
        times += jnp.sum(hats * (config.jitter * (2.0 * jitter - 1.0))[:, None], axis=-1)
    return jnp.clip(times, 0.0, last.astype(jnp.float32))


def _sample(
    positions: jax.Array, confidence: jax.Array, source_frames: jax.Array, times: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Interpolates positions (B, S, J, 3) and confidence (B, S, 2) at fractional times (B, T).

    If a hand is seen in only one of the two frames around a time, the nearer frame decides. A hand is
    never blended with the zeros of its absence.
    """
    before = times.astype(jnp.int32)
    after = jnp.minimum(before + 1, jnp.maximum(source_frames - 1, 0)[:, None])
    weight = (times - before.astype(jnp.float32))[..., None]
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
    scale = jnp.exp((2.0 * draws.scale - 1.0) * math.log1p(config.scale))[:, None, None]
    shift = (2.0 * draws.shift - 1.0) * config.shift
    center = jnp.array(_CENTER)
    place = jnp.pad(shift, ((0, 0), (0, 1))) + center[None]
    view = jnp.einsum("bij,bjk,bkl->bil", yaw, pitch, roll, precision=jax.lax.Precision.HIGHEST)
    # wrist' = (wrist - center) roll + center + shift, joint' = (joint - wrist) view + wrist'
    wrists = wrists_of_joints(positions)
    return (
        _product(scale * view, positions - wrists)
        + _product(scale * roll, wrists - center[None, None, None])
        + place[:, None, None]
    )


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


def _product(matrices: jax.Array, points: jax.Array) -> jax.Array:
    """Multiplies (B, T, J, 3) points by the (B, 3, 3) matrices of their rows.

    As a sum of columns it is float32 on every backend, and on a CPU far faster than a matrix product.
    """
    x, y, z = (matrices[:, None, None, :, axis] * points[..., axis : axis + 1] for axis in range(3))
    return x + y + z


def _lost_frames(draws: jax.Array, config: ConfigDict) -> jax.Array:
    """Tells which frames are lost: (B, stretches * `temporal_mask_frames`) bool.

    Each stretch of `temporal_mask_frames` loses 1 to that many frames in a row, with probability
    `temporal_mask`.
    """
    stretch = config.temporal_mask_frames
    hit = draws[..., :1] < config.temporal_mask
    run = 1.0 + jnp.floor(draws[..., 1:2] * stretch)
    start = jnp.floor(draws[..., 2:] * stretch)
    # A run may reach into the next stretch.
    number = jnp.arange(2 * stretch, dtype=jnp.float32)[None, None]
    lost = hit & (number >= start) & (number < start + run)
    from_before = jnp.pad(lost[:, :-1, stretch:], ((0, 0), (1, 0), (0, 0)))
    return (lost[..., :stretch] | from_before).reshape(len(draws), -1)

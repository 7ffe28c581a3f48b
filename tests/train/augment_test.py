import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import recorded
from tests.helpers.recorded import switches
from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.train import augment

STORED = np.load(recorded.FILE)
EVERYTHING = {
    "speed": 0.2, "jitter": 2.0, "rotation": 20.0, "tilt": 20.0, "scale": 0.3, "shift": 0.1,
    "mirror": 0.5, "noise": 0.005, "joint_mask": 0.3, "temporal_mask": 0.5,
    "shear": 0.1, "bend": 10.0, "bones": 0.2, "hand_mask": 0.5,
    "cut": 8.0, "skip_frames": 3.0,
}  # fmt: skip


def raw(features):
    """Positions and confidence of (T, 42, 7) features."""
    return features[..., joints.POSITION], features[:, joints.WRISTS, joints.CONFIDENCE]


def draws_of(name, config):
    """The recorded draws of one case, as uniform numbers in [0, 1)."""
    drawn = [STORED[f"{name}/drawn/{n}"] for n in range(8 + (name in ("jitter", "noise")))]
    jitter = (drawn.pop(0) / config.jitter + 1) / 2 if config.jitter else None
    mirror, turn, scale, shift, hit, runs, offsets, *noise, hidden = drawn
    stretch = config.temporal_mask_frames
    lost = np.stack([hit, (runs - 0.5) / stretch, (offsets + 0.5) / stretch], axis=-1)
    draws = augment.Draws(
        mirror=mirror,
        turn=(turn + 1) / 2,
        scale=(scale + 1) / 2,
        shift=(shift / (config.shift or 1) + 1) / 2,
        hidden=hidden,
        jitter=jitter,
        lost=lost if config.temporal_mask else None,
        noise=noise[0] if noise else None,
        shear=np.zeros(2),
        bones=None,
        hand_lost=None,
        cut=np.zeros(2),
        skip_frames=np.zeros(()),
    )
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32)[None], draws)


@pytest.mark.parametrize("name", recorded.SWITCHES)
def test_a_recorded_case(name):
    frames, on = recorded.SWITCHES[name]
    config = switches(**on, speed=0.0 if on else 0.25)
    positions, confidence = (jnp.asarray(x)[None] for x in raw(STORED["features"]))
    change = jax.jit(lambda *args: augment.change(*args, config, frames))
    positions, confidence, hidden = change(
        jnp.pad(positions, ((0, 0), (0, 8), (0, 0), (0, 0)), constant_values=9.0),
        jnp.pad(confidence, ((0, 0), (0, 8), (0, 0)), constant_values=1.0),
        jnp.array([12]),
        jnp.array([frames]),
        draws_of(name, config),
    )
    expected_positions, expected_confidence = raw(STORED[f"{name}/features"])
    seen = np.repeat(expected_confidence > 0, joints.JOINTS_PER_HAND, axis=1)
    np.testing.assert_allclose(confidence[0], expected_confidence, atol=1e-6)
    np.testing.assert_allclose(positions[0][seen], expected_positions[seen], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(hidden[0], STORED[f"{name}/hidden"])


def batch():
    """Three examples in 48 frames with their lengths now and then."""
    examples = [random_features(np.random.default_rng(n), n) for n in (40, 48, 30)]
    padded = [np.pad(x, ((0, 48 - len(x)), (0, 0), (0, 0))) for x in examples]
    positions, confidence = zip(*map(raw, padded), strict=True)
    source_frames, frames = jnp.array([40, 48, 30]), jnp.array([45, 40, 33])
    return jnp.stack(positions), jnp.stack(confidence), source_frames, frames


EXAMPLES = jnp.array([7, 3, 5])


@functools.partial(jax.jit, static_argnames="length")
def augmented(positions, confidence, source_frames, frames, example, epoch, length):
    """Everything on."""
    keys = augment.example_keys(42, jnp.full_like(example, epoch), example)
    config = switches(**EVERYTHING)
    draws = augment.draw(keys, positions.shape[1], length, config)
    return augment.change(positions, confidence, source_frames, frames, draws, config, length)


def test_a_row_does_not_depend_on_its_batch_its_place_or_its_padding():
    arrays = batch()
    whole = augmented(*arrays, EXAMPLES, 3, 48)
    row = [x[1:2] for x in arrays]
    row[0] = jnp.pad(row[0], ((0, 0), (0, 30), (0, 0), (0, 0)), constant_values=jnp.nan)
    row[1] = jnp.pad(row[1], ((0, 0), (0, 30), (0, 0)), constant_values=0.9)
    alone = augmented(*row, EXAMPLES[1:2], 3, 80)
    for found, expected in zip(alone[:2], whole[:2], strict=True):
        np.testing.assert_allclose(found[0, :40], expected[1, :40], atol=1e-6)
    np.testing.assert_array_equal(alone[2][0], whole[2][1])
    for confidence in (alone[1][0], whole[1][1]):
        np.testing.assert_array_equal(confidence[40:], 0.0)


def test_draws_differ_by_seed_epoch_and_example_and_are_spread_evenly():
    config = switches(**EVERYTHING)
    draw = jax.jit(lambda keys: augment.draw(keys, 60, 60, config))
    drawn = [
        draw(augment.example_keys(seed, jnp.full(40, epoch), jnp.arange(40)))
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for field in augment.Draws._fields:
        rows = np.concatenate([getattr(one, field) for one in drawn]).reshape(120, -1)
        assert len(np.unique(rows, axis=0)) == 120, field
        mean, deviation = (0.0, 1.0) if field == "noise" else (0.5, 12**-0.5)
        limit = 5 * deviation / np.sqrt(rows.size)
        assert rows.mean() == pytest.approx(mean, abs=limit), field
        assert rows.std() == pytest.approx(deviation, abs=limit), field
    noise = np.asarray(drawn[0].noise)
    neighbors = [(noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1]), (noise, drawn[1].noise)]
    for one, other in neighbors:  # 300,000 numbers: five standard deviations are 0.009
        assert np.mean(one * other) == pytest.approx(0.0, abs=0.01)


class Positions:
    """Stands in for the network: normalizes nothing."""

    @staticmethod
    def features(positions, confidence, frames):
        del frames
        return jnp.where(confidence[..., :1, None] > 0, positions, 0.0)


def test_a_second_view_differs_in_all_but_the_pace():
    positions, confidence, source_frames, frames = batch()
    labels, epoch = jnp.ones((3, 1), jnp.int32), jnp.ones(3, jnp.int32)
    one = Batch(
        positions, confidence, source_frames, frames, labels, epoch, EXAMPLES, epoch, length=48
    )

    def views(config):
        view = functools.partial(augment.augmented_features, Positions, one, 1, config)
        return np.asarray(view()), np.asarray(view(second_view=True))

    first, second = views(switches(speed=0.2, jitter=2.0, cut=8.0))
    np.testing.assert_array_equal(first, second)
    first, second = views(switches(speed=0.2, jitter=2.0, shift=0.1))
    moved = (first - second)[0, :45]
    moved = moved[moved.any(axis=(1, 2))]  # where the hand is seen
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1, :1], moved.shape), atol=1e-5)
    assert np.abs(moved[0, 0, :2]).min() > 1e-3


def test_hidden_joints_are_all_zeros():
    hidden = jnp.zeros((1, 42), bool).at[0, 3].set(True)
    features = augment.hide_joints(jnp.ones((1, 2, 42, 7)), hidden)
    assert features[:, :, 3].sum() == 0 and features.sum() == 2 * 41 * 7


def still(**changed):
    """Draws of one example that change nothing but what is given."""
    half = dict(
        mirror=np.ones(1),
        turn=np.full((1, 3), 0.5),
        scale=np.full(1, 0.5),
        shift=np.full((1, 2), 0.5),
    )
    pace = dict(cut=np.zeros((1, 2), np.float32), skip_frames=np.zeros(1, np.float32))
    none = dict(jitter=None, lost=None, noise=None, bones=None, hand_lost=None)
    draws = (
        half | pace | none | {"hidden": np.ones((1, 42)), "shear": np.full((1, 2), 0.5)} | changed
    )
    return augment.Draws(**draws)


def changed(positions, confidence, draws, frames=1, **on):
    """Positions and confidence of one example after some changes."""
    frames = jnp.array([frames])
    args = jnp.asarray(positions), jnp.asarray(confidence), frames, frames
    found = augment.change(*args, draws, switches(**on), positions.shape[1])
    return np.asarray(found[0]), np.asarray(found[1])


def test_a_finger_bends_as_a_chain_and_bones_grow():
    positions = np.random.default_rng(0).normal(size=(1, 1, 42, 3)).astype(np.float32)
    positions[0, 0, 5:9] = [[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]]  # the left index finger
    positions[0, 0, 0] = 0.0
    sure = np.ones((1, 1, 2), np.float32)
    bones = np.full((1, 42, 4), 0.5, np.float32)
    bones[0, 6, 0] = bones[0, 8, 0] = 1.0  # its second and last bone, by 90 degrees in the picture
    bent, _ = changed(positions, sure, still(bones=bones), bend=90.0)
    np.testing.assert_allclose(
        bent[0, 0, 5:9], [[1, 0, 0], [1, 1, 0], [1, 2, 0], [0, 2, 0]], atol=1e-6
    )
    others = [joint for joint in range(42) if joint not in (6, 7, 8)]
    np.testing.assert_allclose(bent[0, 0, others], positions[0, 0, others], atol=1e-5)
    bones = np.full((1, 42, 4), 0.5, np.float32)
    bones[0, 6, 3] = 1.0
    longer, _ = changed(positions, sure, still(bones=bones), bones=1.0)
    np.testing.assert_allclose(longer[0, 0, 5:9, 0], [1, 3, 4, 5], atol=1e-6)


def test_a_stretch_loses_one_hand():
    lost = np.ones((1, 2, 2, 3), np.float32)
    # The right hand, in the first of two stretches: 2 of frames 2 to 5.
    lost[0, 0, 1] = [0.2, 0.35, 0.5]
    sure = np.ones((1, 8, 2), np.float32)
    draws = still(hand_lost=lost)
    on = {"hand_mask": 0.3, "temporal_mask_frames": 4}
    _, confidence = changed(np.zeros((1, 8, 42, 3), np.float32), sure, draws, 8, **on)
    np.testing.assert_array_equal(confidence[0, :, 0], 1.0)
    np.testing.assert_array_equal(confidence[0, :, 1], [1, 1, 0, 0, 1, 1, 1, 1])


def test_shear_moves_x_with_y():
    positions = np.full((1, 1, 42, 3), 0.5, np.float32)
    positions[0, 0, 3] = [0.7, 0.9, 0.1]
    draws = still(shear=np.array([[1.0, 0.5]], np.float32))
    found, _ = changed(positions, np.ones((1, 1, 2), np.float32), draws, shear=0.1)
    np.testing.assert_allclose(found[0, 0, 3], [0.74, 0.9, 0.1], atol=1e-6)
    np.testing.assert_allclose(found[0, 0, 0], [0.5, 0.5, 0.5], atol=1e-6)


def frames_with(values):
    """Positions of one example whose every coordinate is a frame's value, and sure hands."""
    values = np.asarray(values, np.float32)[None, :, None, None]
    return np.broadcast_to(values, (1, values.shape[1], 42, 3)), np.ones((1, values.shape[1], 2))


def test_a_cut_leaves_out_frames_and_plays_the_others_slower():
    draws = still(cut=np.array([[1.0, 0.5]], np.float32))
    found, _ = changed(*frames_with(range(10)), draws, 10, cut=3.0)  # a fifth of 9: 1.8
    expected = [0, 0.8, 1.6, 2.4, 3.2, 5.8, 6.6, 7.4, 8.2, 9]
    np.testing.assert_allclose(found[0, :, 4, 1], expected, atol=1e-5)
    draws = still(cut=np.array([[0.5, 0.0]], np.float32))
    found, _ = changed(*frames_with(range(10)), draws, 10, cut=2.0)  # the first one
    expected = [0, *(1 + 8 / 9 * np.arange(1, 10))]
    np.testing.assert_allclose(found[0, :, 4, 1], expected, atol=1e-5)


def test_skipped_frames_are_interpolated():
    draws = still(skip_frames=np.ones(1, np.float32))
    found, _ = changed(*frames_with(np.arange(8) ** 2), draws, 8, skip_frames=2.0)
    np.testing.assert_allclose(found[0, :, 4, 1], [0, 3, 6, 9, 18, 27, 36, 49], atol=1e-4)

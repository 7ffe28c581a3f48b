import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import recorded
from tests.helpers.recorded import switches
from wsign_jax.keypoints import joints
from wsign_jax.train import augment

STORED = np.load(recorded.FILE)
EVERYTHING = {
    "speed": 0.2, "jitter": 2.0, "rotation": 20.0, "tilt": 20.0, "scale": 0.3, "shift": 0.1,
    "mirror": 0.5, "noise": 0.005, "joint_mask": 0.3, "temporal_mask": 0.5,
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
    )
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32)[None], draws)


@pytest.mark.parametrize("name", recorded.SWITCHES)
def test_a_recorded_case(name):
    frames, on = recorded.SWITCHES[name]
    config = switches(**on, speed=0.25 if name in ("faster", "slower") else 0.0)
    positions, confidence = (jnp.asarray(x)[None] for x in raw(STORED["features"]))
    positions, confidence, hidden = augment.change(
        jnp.pad(positions, ((0, 0), (0, 8), (0, 0), (0, 0)), constant_values=9.0),
        jnp.pad(confidence, ((0, 0), (0, 8), (0, 0)), constant_values=1.0),
        jnp.array([12]),
        jnp.array([frames]),
        draws_of(name, config),
        config,
        frames,
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


@jax.jit(static_argnames="length")
def augmented(positions, confidence, source_frames, frames, example, epoch, length):
    """Everything on."""
    keys = augment.example_keys(42, epoch, example)
    config = switches(**EVERYTHING)
    args = positions, confidence, source_frames, frames, keys, config, length
    return augment.augment(*args)


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


@pytest.mark.parametrize("name", EVERYTHING)
def test_draws_differ_by_seed_epoch_and_example(name):
    arrays = batch()
    same = [x[:1].repeat(2, axis=0) for x in arrays]
    config = switches(**{name: EVERYTHING[name]})
    draws = [
        augment.draw(augment.example_keys(seed, epoch, jnp.array([7, 8])), 48, 48, config)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    del same
    for field in augment.Draws._fields:
        numbers = [getattr(one, field) for one in draws]
        if numbers[0] is not None:
            firsts = np.stack(numbers).reshape(6, -1)
            assert len(np.unique(firsts, axis=0)) == 6, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import recorded
from wsign_jax.keypoints import joints
from wsign_jax.model import features

STORED = np.load(recorded.FILE)
WRIST, KNUCKLE, TIP = 0, 9, 8  # of a hand


def raw(sequences, length):
    """Positions, confidence and frames of (T, 42, 7) features, NaN and sure beyond their ends."""
    positions = np.full((len(sequences), length, 42, 3), np.nan, np.float32)
    confidence = np.ones((len(sequences), length, 2), np.float32)
    for row, sequence in enumerate(sequences):
        positions[row, : len(sequence)] = sequence[..., joints.POSITION]
        confidence[row, : len(sequence)] = sequence[:, joints.WRISTS, joints.CONFIDENCE]
    frames = np.array([len(sequence) for sequence in sequences], np.int32)
    return positions, confidence, frames


whole = jax.jit(features.features_of_sequences, static_argnames="wrist_place")
chunk = jax.jit(features.features_of_chunk, static_argnames="wrist_place")


@pytest.mark.parametrize("name", ["normalized", "normalized/no_wrist_place"])
def test_what_was_recorded_is_what_comes_out(name):
    found = whole(*raw([STORED["features"]], 16), wrist_place=name == "normalized")
    # Velocities are up to 60, of positions around 0.5, which float32 has to 3e-8.
    atol = np.array([1e-5] * 3 + [1e-4] * 3 + [1e-6])
    assert (np.abs(found[0, :12] - STORED[name]) <= atol + 1e-5 * np.abs(STORED[name])).all()
    np.testing.assert_array_equal(found[0, 12:], 0.0)


@pytest.mark.parametrize("wrist_place", [True, False])
def test_four_frames_by_hand(wrist_place):
    # The right wrist moves by 0.01 to the right a frame, its tip by 0.02 down besides. The knuckle is
    # 0.05, 0.1, 0.15 and 0.1 long: means 0.05, 0.075, 0.1 and 0.1. The left hand, 0.01 long, for which
    # 0.02 is taken, is not seen in the third frame.
    sequence = np.zeros((4, 42, 7), np.float32)
    step = np.arange(4) * 0.01
    sequence[:, 21:, 0] = 0.5 + step[:, None]
    sequence[:, 21 + TIP, 1] += 2 * step
    sequence[:, 21 + KNUCKLE, 2] = [0.05, 0.1, 0.15, 0.1]
    sequence[:, :21, 1] = 0.2
    sequence[:, KNUCKLE, 0] = 0.01
    sequence[:, :, 6] = 0.9
    sequence[2, :21, 6] = 0.0
    found = np.asarray(whole(*raw([sequence], 4), wrist_place=wrist_place))[0]
    expected = np.zeros((4, 42, 7))
    sizes = np.array([0.05, 0.075, 0.1, 0.1])
    expected[:, 21 + TIP, 1] = 2 * step / sizes
    expected[:, 21 + TIP, 4] = 1.2 / sizes
    expected[:, 21 + KNUCKLE, 2] = [0.05 / 0.05, 0.1 / 0.075, 0.15 / 0.1, 0.1 / 0.1]
    # One side at both ends.
    expected[:, 21 + KNUCKLE, 5] = [3.0 / 0.05, 3.0 / 0.075, 0.0, -3.0 / 0.1]
    expected[:, KNUCKLE, 0] = 0.5
    if wrist_place:
        expected[:, 21, 0] = 0.5 + step
        expected[:, 21, 3] = 0.6
        expected[:, 0, 1] = 0.2
    expected[:, :, 6] = 0.9
    expected[2, :21] = 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_rows_are_independent_and_padding_changes_nothing():
    sequences = [random_features(np.random.default_rng(n), n) for n in (30, 1, 2, 17)]
    found = np.asarray(whole(*raw(sequences, 32), wrist_place=True))
    longer = np.asarray(whole(*raw(sequences, 48), wrist_place=True))
    np.testing.assert_allclose(longer[:, :32], found, rtol=1e-5, atol=1e-5)
    for row, sequence in enumerate(sequences):
        alone = whole(*raw([sequence], 32), wrist_place=True)[0]
        np.testing.assert_allclose(found[row], alone, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found[row, len(sequence) :], 0.0)


@pytest.mark.parametrize("size", [1, 8, 32])
@pytest.mark.parametrize("lead", [0, 3])
def test_chunks_of_any_size_give_the_same_as_the_whole(size, lead):
    lead = min(lead, size - 1)  # empty frames before the stream, in its first chunk
    frames = 61
    positions, confidence, ends = raw([random_features(np.random.default_rng(0), frames)], frames)
    expected = whole(positions, confidence, ends, wrist_place=True)[0]
    padding = ((0, 0), (lead, size + 1), (0, 0), (0, 0))
    positions = np.pad(positions, padding, constant_values=np.nan)
    confidence = np.pad(confidence, padding[:3], constant_values=1.0)
    state, parts = features.initial_state(1), []
    for first in range(0, lead + frames, size):
        window = slice(first, first + size + 1)
        found, state = chunk(
            positions[:, window],
            confidence[:, window],
            np.array([lead if first == 0 else 0], np.int32),
            np.array([lead + frames - first], np.int32),
            state,
            wrist_place=True,
        )
        parts.append(found[0])
    found = np.concatenate(parts)[lead : lead + frames]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_size_still_follows_a_new_signer_after_an_hour():
    # Of 0.2 until now: the 299th frame counts 1 / 299, every frame from the 300th on 1 / 300.
    positions = jnp.zeros((1, 2, 42, 3)).at[:, :, [KNUCKLE, 21 + KNUCKLE], 0].set(0.1)
    state = features.initial_state(1)._replace(
        size=jnp.full((1, 2), 0.2), seen=jnp.array([[298, 300]])
    )
    ends = jnp.array([0]), jnp.array([2])
    _, after = chunk(positions, jnp.ones((1, 2, 2)), *ends, state, wrist_place=True)
    np.testing.assert_allclose(after.size, [[0.2 - 0.1 / 299, 0.2 - 0.1 / 300]], rtol=1e-6)
    np.testing.assert_array_equal(after.seen, [[299, 300]])


def test_any_number_of_frames_is_exported_without_a_loop_or_a_call_of_the_host():
    batch, frames = jax.export.symbolic_shape("b, t")
    shapes = [
        jax.ShapeDtypeStruct((batch, frames, 42, 3), np.float32),
        jax.ShapeDtypeStruct((batch, frames, 2), np.float32),
        jax.ShapeDtypeStruct((batch,), np.int32),
    ]
    step = jax.jit(lambda *keypoints: features.features_of_sequences(*keypoints, wrist_place=True))
    exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(*shapes)
    assert not {"while", "callback"} & set(exported.mlir_module().replace("_", " ").split())
    assert "stablehlo.while" not in exported.mlir_module()
    arguments = raw([STORED["features"]], 16)
    np.testing.assert_allclose(
        exported.call(*arguments), whole(*arguments, wrist_place=True), rtol=1e-5, atol=1e-5
    )

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from wsign_jax.model import attention
from wsign_jax.model.positions import rotary_angles


def test_the_mask_follows_its_definition():
    length, chunk, left = 11, 3, 2
    patches = np.array([11, 7, 0])
    mask = np.asarray(attention.attention_mask(jnp.asarray(patches), length, chunk, left))
    for row, query, key in np.ndindex(3, length, length):
        c = query // chunk
        expected = c * chunk - left <= key < (c + 1) * chunk and key < patches[row]
        assert mask[row, 0, query, key] == expected, (row, query, key)


def test_a_huge_chunk_is_full_attention_whatever_the_left_context():
    patches = jnp.array([5])
    for left in (0, 7):
        mask = attention.attention_mask(patches, 5, attention.FULL_ATTENTION, left)
        assert bool(mask.all())


@pytest.mark.parametrize(("chunk", "left"), [(1, 0), (3, 2), (4, 9)])
def test_a_ring_holds_what_the_mask_shows(chunk, left):
    length = 8 * chunk
    mask = np.asarray(attention.attention_mask(jnp.array([length]), length, chunk, left))
    for first in range(0, length, chunk):
        held = np.asarray(attention.ring_positions(jnp.int32(first), chunk, left + chunk))
        for position in held[held >= 0]:
            assert held[position % (left + chunk)] == position
        for query in range(first, first + chunk):
            assert sorted(held[held >= 0]) == np.flatnonzero(mask[0, 0, query]).tolist()


def test_rotary_scores_depend_on_the_distance_only_even_after_hours():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 64)), jnp.float32) for _ in range(2))

    def score(first):
        rotated = [
            attention.rotate(x, tuple(map(jnp.asarray, rotary_angles(p, 1, 64))))
            for x, p in ((query, first + 5), (key, first))
        ]
        return float(jnp.sum(rotated[0] * rotated[1]))

    three_hours = 3 * 3600 * 15  # patches
    assert score(three_hours) == pytest.approx(score(0), abs=1e-5)
    assert abs(score(0) - float(jnp.sum(query * key))) > 0.1


def test_rotations_by_hand():
    # A quarter turn of the pair (1, 3), a half turn of (2, 4).
    x = jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    angles = jnp.array([[0.0, -1.0]]), jnp.array([[1.0, 0.0]])
    np.testing.assert_array_equal(attention.rotate(x, angles)[0, 0, 0], [-3, -2, 1, -4])


@pytest.mark.parametrize("rotary", [False, True])
def test_attention_is_the_textbook_formula(rotary):
    module = attention.MultiHeadAttention(8, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (1, 5, 8))
    mask = jnp.asarray(attention.causal_mask(5))
    assert module.key.bias is None and module.query.bias is not None
    q, k, v = (
        np.asarray(layer(x)).reshape(5, 2, 4) for layer in (module.query, module.key, module.value)
    )
    angles = None
    if rotary:  # pairs as complex numbers, which turn by position * (1, 1 / 100)
        angles = tuple(map(jnp.asarray, rotary_angles(0, 5, 4)))
        turn = np.exp(1j * np.arange(5)[:, None] * [1.0, 0.01])[:, None]
        q, k = ((x[..., :2] + 1j * x[..., 2:]) * turn for x in (q, k))
        q, k = (np.concatenate([x.real, x.imag], axis=-1) for x in (q, k))
    rows = np.zeros((5, 2, 4))
    for head, row in np.ndindex(2, 5):
        scores = np.array([q[row, head] @ k[past, head] / 2.0 for past in range(row + 1)])
        weights = np.exp(scores - scores.max())
        rows[row, head] = weights / weights.sum() @ v[: row + 1, head]
    expected = module.out(jnp.asarray(rows.reshape(1, 5, 8), jnp.float32))
    np.testing.assert_allclose(module(x, x, mask, angles), expected, atol=1e-5)

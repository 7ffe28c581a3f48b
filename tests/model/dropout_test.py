"""Dropout: how often, how large, for whom, and drawn from what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.model.dropout import Dropout, DropoutKeys


def dropped(rate, shape, seed=0, **flags):
    """Ones after dropout."""
    keys = DropoutKeys.of(jax.random.key(seed))
    return np.asarray(Dropout(rate, **flags)(jnp.ones(shape), keys))


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.9])
def test_a_rate_is_the_share_of_zeros_and_the_mean_stays(rate):
    out = dropped(rate, (64, 64, 64))
    spread = np.sqrt(rate * (1 - rate) / out.size)
    assert abs(np.mean(out == 0) - rate) < 5 * spread
    kept = out[out != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_dropped_independently_of_their_neighbours(seed):
    """Whatever lies between two values: little, a power of two, or much."""
    out = dropped(0.5, (512, 512), seed).ravel() == 0
    for distance in (1, 2, 3, 7, 16, 64, 511, 512, 513, 2048, 2**15, 2**17):
        # A correlation of independent values is 0, with a standard deviation of 1 / 512.
        assert abs(np.corrcoef(out, np.roll(out, distance))[0, 1]) < 5 / 512, distance


def test_patterns_of_neighbours_are_as_common_as_chance_makes_them():
    """Each of the 2^8 patterns of eight neighbours, by the chi-squared of their counts."""
    out = dropped(0.5, (2**18, 8)) == 0
    counts = np.bincount(out @ (1 << np.arange(8)), minlength=256)
    expected = len(out) / 256
    chi_squared = np.sum((counts - expected) ** 2) / expected
    assert abs(chi_squared - 255) < 5 * np.sqrt(2 * 255)


def test_layers_and_steps_draw_independently_of_each_other():
    draws = []
    for step in range(4):
        keys, layer = DropoutKeys.of(jax.random.key(step)), Dropout(0.5)
        inner = DropoutKeys(keys.next())
        for source in (keys, inner) * 4:
            draws.append(np.asarray(layer(jnp.ones(2**14), source) == 0, float))
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 6 / 2**7


def test_shared_axes_share_one_draw():
    out = dropped(0.5, (8, 6, 128), shared_axes=(1,))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
    assert len({row.tobytes() for row in out[:, 0]}) == 8, "rows of a batch are drawn apart"


def test_every_call_draws_anew_and_the_same_key_draws_the_same():
    keys, layer, x = DropoutKeys.of(jax.random.key(0)), Dropout(0.5), jnp.ones((4, 64))
    first, second = layer(x, keys), layer(x, keys)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, dropped(0.5, (4, 64)))
    assert not np.array_equal(first, dropped(0.5, (4, 64), seed=1))


def test_rates_at_the_ends():
    x, keys = jnp.arange(8.0), DropoutKeys.of(jax.random.key(0))
    assert Dropout(0.0)(x, keys) is x
    assert Dropout(0.5)(x, None) is x
    assert np.all(np.isfinite(Dropout(0.9999999)(x, keys)))


@pytest.mark.parametrize("rate", [0.9999, 0.99999, 1 - 1e-12, 1.0])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_gradients_are_numbers_at_the_highest_rates(rate, dtype):
    def total(x):
        return jnp.sum(Dropout(rate)(x, DropoutKeys.of(jax.random.key(0))))

    assert np.all(np.isfinite(jax.grad(total)(jnp.ones(64, dtype))))


def test_low_precision_stays_low():
    out = Dropout(0.1)(jnp.ones((4, 16), jnp.bfloat16), DropoutKeys.of(jax.random.key(0)))
    assert out.dtype == jnp.bfloat16

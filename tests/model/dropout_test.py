"""Dropout: how often, how large, for whom, and drawn from what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.model.dropout import Dropout
from wsign_jax.model.keys import Keys


def dropped(rate, shape, seed=0, **flags):
    """Ones after dropout."""
    keys = Keys(jax.random.key(seed))
    return np.asarray(Dropout(rate, **flags)(jnp.ones(shape), keys))


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.9])
def test_a_rate_is_the_share_of_zeros_and_the_mean_stays(rate):
    out = dropped(rate, (64, 64, 64))
    spread = np.sqrt(rate * (1 - rate) / out.size)
    assert abs(np.mean(out == 0) - rate) < 5 * spread + 2**-16
    kept = out[out != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=2e-4)


def test_values_are_dropped_independently_of_their_neighbours():
    # A word decides for two neighbours, and a row of odd width uses half of its last.
    out = dropped(0.5, (512, 65)) == 0
    for other in (np.roll(out, 1, axis=0), np.roll(out, 1, axis=1), np.roll(out, 32, axis=1)):
        assert abs(np.corrcoef(out.ravel(), other.ravel())[0, 1]) < 0.03


def test_shared_axes_share_one_draw():
    out = dropped(0.5, (8, 6, 128), shared_axes=(1,))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
    assert len({row.tobytes() for row in out[:, 0]}) == 8, "rows of a batch are drawn apart"


def test_every_call_draws_anew_and_the_same_key_draws_the_same():
    keys, layer, x = Keys(jax.random.key(0)), Dropout(0.5), jnp.ones((4, 64))
    first, second = layer(x, keys), layer(x, keys)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, dropped(0.5, (4, 64)))
    assert not np.array_equal(first, dropped(0.5, (4, 64), seed=1))


def test_rates_at_the_ends():
    x, keys = jnp.arange(8.0), Keys(jax.random.key(0))
    assert Dropout(0.0)(x, keys) is x
    assert Dropout(0.5)(x, None) is x
    assert np.all(np.isfinite(Dropout(0.9999999)(x, keys)))


def test_low_precision_stays_low():
    out = Dropout(0.1)(jnp.ones((4, 16), jnp.bfloat16), Keys(jax.random.key(0)))
    assert out.dtype == jnp.bfloat16

"""The small layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from wsign_jax.model import layers


def test_linear_is_flaxs():
    linear = layers.Linear(5, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    flaxs = nnx.Linear(5, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 4, 5))
    np.testing.assert_allclose(linear(x), flaxs(x), rtol=1e-6)
    np.testing.assert_allclose(linear(x[0, 0]), linear(x)[0, 0], rtol=1e-6)
    assert linear(x[:, :0]).shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"), [(jnp.float32, 1e-6, 3e-7), (jnp.bfloat16, 2**-8, 1e-6)]
)
def test_gelu_is_exact(dtype, relative, absolute):
    """In half precision too, where x is negative as well."""
    x = jnp.linspace(-3, 8, 111).astype(dtype)
    exact = np.asarray(x, np.float64) * special.ndtr(np.asarray(x, np.float64))
    found = layers.gelu(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=relative, atol=absolute)


def test_gelus_slope_is_exact():
    x = jnp.linspace(-20, 20, 81)
    slopes = jax.vmap(jax.grad(layers.gelu))(x)
    precise = np.asarray(x, np.float64)
    density = np.exp(-(precise**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(slopes, special.ndtr(precise) + precise * density, atol=1e-6)


def test_epsilon_is_whispers():
    assert layers.layer_norm(4, dtype=jnp.float32, rngs=nnx.Rngs(0)).epsilon == 1e-5

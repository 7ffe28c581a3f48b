"""The small layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from wsign_jax.model import layers
from wsign_jax.model.layers import Dropout, DropoutKeys, block_of, run_blocks, stack


def test_linear_is_flaxs():
    linear = layers.Linear(5, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    flaxs = nnx.Linear(5, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    flaxs.kernel[...] = linear.kernel[...]
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
def test_values_are_dropped_independently_of_their_neighbors(seed):
    """Whatever lies between two values: little, a power of two, or much."""
    out = dropped(0.5, (512, 512), seed).ravel() == 0
    for distance in (1, 2, 3, 7, 16, 64, 511, 512, 513, 2048, 2**15, 2**17):
        # A correlation of independent values is 0, with a standard deviation of 1 / 512.
        assert abs(np.corrcoef(out, np.roll(out, distance))[0, 1]) < 5 / 512, distance


def test_patterns_of_neighbors_are_as_common_as_chance_makes_them():
    """Each of the 2^8 patterns of eight neighbors, by the chi-squared of their counts."""
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


WIDTH = 8


class Block(nnx.Module):
    """x and context, mixed; counts how often it was traced."""

    traced = 0

    def __init__(self, rngs):
        self.mix = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.dropout = Dropout(0.5)

    def __call__(self, x, context, *, dropout_keys=None):
        Block.traced += 1
        return x + self.dropout(jnp.tanh(self.mix(x) + context), dropout_keys)


BLOCKS = stack(Block, 4, nnx.Rngs(0))
X, CONTEXT = jax.random.normal(jax.random.key(0), (2, 3, 5, WIDTH))


def one_by_one(blocks, x, context, dropout_keys):
    keys = dropout_keys and jax.random.split(dropout_keys.next(), 4)
    for number in range(4):
        own = dropout_keys and DropoutKeys(keys[number])
        x = block_of(blocks, number)(x, context, dropout_keys=own)
    return x


@pytest.fixture(params=["copies", "loop"])
def kind(request, monkeypatch):
    """Both ways of going through a stack."""
    monkeypatch.setattr(layers, "_UNROLLED", 4 if request.param == "copies" else 0)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
def test_blocks_compute_what_they_do_one_by_one_and_so_do_gradients(dropout, remat):
    graph, params = nnx.split(BLOCKS)

    def total(go, params, context):
        keys = DropoutKeys.of(jax.random.key(1)) if dropout else None
        out = go(nnx.merge(graph, params), X, context, dropout_keys=keys)
        return jnp.sum(jnp.sin(out)), out

    results = [
        jax.jit(jax.value_and_grad(functools.partial(total, go), (0, 1), has_aux=True))(
            params, CONTEXT
        )
        for go in (one_by_one, functools.partial(run_blocks, remat=remat))
    ]
    for expected, found in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_block_is_traced_once_for_all():
    Block.traced = 0
    run_blocks(BLOCKS, X[:1], CONTEXT[:1], dropout_keys=DropoutKeys.of(jax.random.key(1)))
    assert Block.traced == 1


def test_each_block_begins_with_other_weights_and_drops_others():
    kernels = np.asarray(BLOCKS.mix.kernel[...])
    assert kernels.shape == (4, WIDTH, WIDTH) and len({kernel.tobytes() for kernel in kernels}) == 4
    same = stack(lambda rngs: Block(nnx.Rngs(0)), 2, nnx.Rngs(0))
    keys, zeros = DropoutKeys.of(jax.random.key(1)), jnp.zeros_like(X)
    each = jax.random.split(DropoutKeys.of(jax.random.key(1)).next(), 2)
    first = block_of(same, 0)(zeros, CONTEXT, dropout_keys=DropoutKeys(each[0]))
    both = run_blocks(same, zeros, CONTEXT, dropout_keys=keys)
    dropped = [np.asarray(x == 0) for x in (first, both - first)]
    assert 0.3 < dropped[0].mean() < 0.7 and not np.array_equal(*dropped)

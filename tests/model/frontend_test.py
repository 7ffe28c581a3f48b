import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

from tests.conftest import small_config
from wsign_jax.model import frontend


@pytest.mark.parametrize(
    ("look_ahead", "expected"),  # 100, 10 and 1 times the patches 1, 2 and 3, and 0.5
    [(0, [1.5, 12.5, 123.5]), (1, [12.5, 123.5, 230.5]), (2, [123.5, 230.5, 300.5])],
)
def test_convolution_by_hand(look_ahead, expected):
    conv = frontend.DepthwiseConv(2, 3, look_ahead, dtype=jnp.float32, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.array([[100.0, 0.0], [10.0, 1.0], [1.0, 0.0]])  # of two channels
    conv.bias[...] = jnp.array([0.5, 0.0])
    found = conv(jnp.array([[[1.0, 7.0], [2.0, 8.0], [3.0, 9.0]]]))[0]
    np.testing.assert_allclose(found[:, 0], expected)
    shift = 1 - look_ahead  # the middle tap is the only one
    whole = np.array([0, 0, 7.0, 8.0, 9.0, 0, 0])
    np.testing.assert_allclose(found[:, 1], whole[2 - shift : 5 - shift])


@pytest.mark.parametrize("length", [10, 12])
def test_the_frontend_is_what_its_docstring_says(length):
    config = small_config().model.frontend
    config.update(patch_size=4, conv_kernel=3, look_ahead=1)
    module = frontend.Frontend(config, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, length, 42, 7)).astype(np.float32)
    frames = [10, 4]
    found, patches = jax.jit(module)(features, jnp.array(frames))
    assert patches.tolist() == [3, 1] and found.shape == (2, 3, 3)
    embed, project = (
        (np.asarray(layer.kernel[...]), np.asarray(layer.bias[...]))
        for layer in (module.embed, module.project)
    )
    kernel = np.asarray(module.conv.kernel[...])
    for row, (count, valid) in enumerate(zip(frames, (3, 1), strict=True)):
        x = np.zeros((12, 42, 7))
        x[:count] = features[row, :count]
        x[..., 3:6] /= 10  # velocities
        x = x.reshape(3, -1) @ embed[0] + embed[1]
        x = x * scipy.special.ndtr(x)  # GELU
        x = x @ project[0] + project[1]
        x[valid:] = 0.0
        around = np.pad(x, ((1, 1), (0, 0)))
        x = x + sum(kernel[tap] * around[tap : tap + 3] for tap in range(3))
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(found[row, :valid], x[:valid], rtol=1e-4, atol=1e-4)

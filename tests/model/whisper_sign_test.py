import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import small_config
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.layers import DropoutKeys
from wsign_jax.train import sharding

V = 7
TOKENS = jnp.array([[0, 3, 3, 1]], jnp.int32)


@functools.cache
def model(name):
    config = small_config().model
    config.positions = MODELS[name].get("positions", "rotary")
    config.frontend.look_ahead = MODELS[name].get("look_ahead", 0)
    graph, shapes = whisper_sign.build_network(config, V)
    return graph, whisper_sign.init_params(config, shapes, seed=1)


def logits(graph, params, features, frames, chunk=2**30, left_context=0):
    """CTC and attention logits of a batch, compiled once per shape."""
    model = whisper_sign.bind_params(graph, params)
    encoded, patches = model.encode(features, frames, chunk=chunk, left_context=left_context)
    tokens = jnp.broadcast_to(TOKENS, (len(features), TOKENS.shape[1]))
    return model.ctc_logits(encoded), model.decoder(tokens, encoded, patches)


run = jax.jit(logits, static_argnums=0)
MODELS = {"rotary": {}, "sinusoidal": {"positions": "sinusoidal"}, "look-ahead": {"look_ahead": 3}}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(1, 37),
    padding=st.sampled_from([40, 56]),
    garbage=st.floats(-1e6, 1e6, width=32),
    window=st.sampled_from([(2**30, 0), (1, 0), (3, 2)]),
    seed=st.integers(0, 99),
)
def test_padding_and_neighbors_never_change_a_valid_logit(
    name, frames, padding, garbage, window, seed
):
    graph, params = model(name)
    rng = np.random.default_rng(seed)
    sequence = rng.normal(size=(frames, 42, 7)).astype(np.float32)
    patches = -(-frames // 4)

    alone = np.zeros((1, 40, 42, 7), np.float32)
    alone[0, :frames] = sequence
    expected = run(graph, params, alone, jnp.array([frames], jnp.int32), *window)

    crowd = np.full((3, padding, 42, 7), garbage, np.float32)
    crowd[1, :frames] = sequence
    crowd[2] = rng.normal(size=crowd[2].shape)
    got = run(graph, params, crowd, jnp.array([0, frames, padding], jnp.int32), *window)

    for one, many in ((expected[0][0, :patches], got[0][1, :patches]), (expected[1][0], got[1][1])):
        scale = float(jnp.max(jnp.abs(one)))
        np.testing.assert_allclose(many, one, atol=1e-5 * scale)


def test_nan_in_the_padding_stays_there():
    graph, params = model("rotary")
    features = np.full((2, 40, 42, 7), np.nan, np.float32)
    features[0, :33] = 0.5
    ctc, attention = run(graph, params, features, jnp.array([33, 0], jnp.int32))
    assert np.isfinite(ctc[0, :9]).all() and np.isfinite(attention[0]).all()


@pytest.mark.parametrize(
    ("name", "window", "same", "least"),
    [("rotary", (2, 8), 6, 1e-3), ("look-ahead", (1, 0), 3, 1e-4)],
)
def test_nothing_is_seen_before_its_time(name, window, same, least):
    graph, params = model(name)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 40, 42, 7)).astype(np.float32)
    changed = features.copy()
    changed[:, 24:] += 1.0
    frames = jnp.array([40], jnp.int32)
    a, _ = run(graph, params, features, frames, *window)
    b, _ = run(graph, params, changed, frames, *window)
    np.testing.assert_array_equal(a[:, :same], b[:, :same])
    assert np.abs(a - b)[:, same].max() > least


def encoded_sum(params, graph, remat):
    """A weighted sum of the encoded patches, with dropout."""
    model = whisper_sign.bind_params(graph, params)
    features = jnp.ones((2, 64, 42, 7)) * jnp.arange(64.0)[None, :, None, None]
    frames = jnp.array([64, 40], jnp.int32)
    keys = DropoutKeys.of(jax.random.key(3))
    x, _ = model.encode(features, frames, dropout_keys=keys, remat=remat)
    return jnp.sum(x * jax.random.normal(jax.random.key(4), x.shape))


def test_rematerialization_changes_no_number_and_keeps_less():
    config = small_config().model
    config.encoder.num_layers = 2
    graph, shapes = whisper_sign.build_network(config, V)
    params = whisper_sign.init_params(config, shapes, seed=1)
    values, kept = [], []
    # Parameters are kept in any case, whole or layer by layer.
    layers = [
        *jax.tree.leaves(shapes),
        *jax.eval_shape(whisper_sign.unstack_params, shapes).values(),
    ]
    own = {leaf.shape for leaf in layers}
    for remat in (False, True):
        loss = functools.partial(encoded_sum, graph=graph, remat=remat)
        values.append(jax.jit(jax.value_and_grad(loss))(params))
        residuals = jax.eval_shape(lambda p, loss=loss: jax.vjp(loss, p)[1], params)
        leaves = [leaf for leaf in jax.tree.leaves(residuals) if leaf.shape not in own]
        kept.append(sum(leaf.size for leaf in leaves))
    assert all((np.abs(leaf) > 1e-3).any() for leaf in jax.tree.leaves(values[0][1]["frontend"]))
    for plain, again in zip(*map(jax.tree.leaves, values), strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())
    assert kept[1] < 0.6 * kept[0]


@pytest.mark.parametrize("size", whisper_sign.SIZES)
def test_sizes_are_those_of_the_design(size):
    config = small_config().model
    config.size, config.encoder.num_layers = size, 0
    _, shapes = whisper_sign.build_network(config, 1296)
    paths = whisper_sign.parameter_paths(shapes)
    expected = whisper_sign.SIZES[size]
    matrix = expected.width, expected.hidden
    assert paths["encoder/blocks/mlp/up/kernel"].shape == (expected.encoder_layers, *matrix)
    assert paths["decoder/blocks/mlp/up/kernel"].shape == (expected.decoder_layers, *matrix)
    assert paths["ctc_head/kernel"].shape == (expected.width, 1296)


@pytest.mark.usefixtures("standard_promotion")
def test_parameters_and_logits_are_float32_whatever_computes():
    config = small_config().model
    graph, shapes = whisper_sign.build_network(config, V, jnp.bfloat16)
    params = whisper_sign.init_params(config, shapes, seed=1)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    features = jnp.ones((1, 40, 42, 7), jnp.float32)
    outputs = run(graph, params, features, jnp.array([40], jnp.int32))
    exact = run(model("rotary")[0], params, features, jnp.array([40], jnp.int32))
    for low, full in zip(outputs, exact, strict=True):
        assert low.dtype == jnp.float32
        assert 0 < np.abs(low - full).max() < 0.2


@pytest.mark.parametrize(
    ("path", "mean", "std"),
    [
        ("encoder/blocks/mlp/up/kernel", 0.0, 128**-0.5),
        ("encoder/blocks/mlp/down/kernel", 0.0, 512**-0.5),
        ("frontend/embed/kernel", 0.0, 1176**-0.5),
        ("frontend/conv/kernel", 0.0, 7**-0.5),
        ("decoder/embed/embedding", 0.0, 128**-0.5),
        ("encoder/norm/scale", 1.0, 0.0),
        ("decoder/blocks/mlp/up/bias", 0.0, 0.0),
    ],
)
def test_fresh_weights_have_the_spread_of_their_kind(path, mean, std):
    config = small_config().model
    config.encoder.num_layers = 2
    params = whisper_sign.init_params(config, whisper_sign.build_network(config, 400)[1], seed=3)
    values = np.asarray(whisper_sign.parameter_paths(params)[path])
    allowed = (
        4 * std / np.sqrt(values.size)
    )  # of a mean, whose standard deviation is a quarter of it
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(mean, abs=allowed)
    assert values.std() == pytest.approx(std, abs=allowed)


def test_fresh_weights_are_the_seeds_on_any_devices_and_all_others():
    config = small_config().model
    config.encoder.num_layers = 2
    _, shapes = whisper_sign.build_network(config, V)
    placed = sharding.place_params(shapes, ((".*", "shard"),), sharding.make_mesh())
    drawn, spread, other = (
        whisper_sign.unstack_params(whisper_sign.init_params(config, where, seed))
        for where, seed in ((shapes, 1), (placed, 1), (shapes, 2))
    )
    first = {}
    for path, value in drawn.items():
        np.testing.assert_array_equal(spread[path], value)
        if np.std(value) > 0:
            assert (np.asarray(other[path]) != value).any()
            first[np.ravel(value)[:8].tobytes()] = path
    random = [path for path in drawn if path.endswith(("kernel", "embedding"))]
    assert sorted(first.values()) == sorted(random), "two parameters have the same numbers"


def test_sinusoidal_positions_end_at_1500_patches():
    config = small_config().model
    config.positions = "sinusoidal"
    whisper_sign.check_length(config, 6000)
    with pytest.raises(WSignError, match="makes 1501 patches"):
        whisper_sign.check_length(config, 6001)

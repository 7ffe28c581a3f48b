import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from wsign_jax.model.decoder import Decoder

B, Q, U, N, D, V = 3, 4, 6, 9, 16, 7


def make():
    decoder = Decoder(D, 2, 32, 2, 0.5, V, dtype=jnp.float32, rngs=nnx.Rngs(0))
    encoded = jax.random.normal(jax.random.key(1), (B, N, D))
    patches = jnp.array([9, 4, 1], jnp.int32)
    tokens = np.random.default_rng(0).integers(1, V, size=(B, Q, U)).astype(np.int32)
    tokens[:, :, 0] = 0
    return decoder, encoded, patches, tokens


def test_gloss_by_gloss_gives_what_whole_sentences_give():
    decoder, encoded, patches, tokens = make()
    start = jax.jit(lambda *given: decoder.start(*given, Q, U))
    cache, step = start(encoded, patches), jax.jit(decoder.step)
    steps = []
    for token in np.moveaxis(tokens, 2, 0):
        logits, cache = step(jnp.asarray(token), cache)
        steps.append(logits)
    at_once = jax.jit(lambda tokens: decoder(tokens, encoded, patches))
    for q in range(Q):
        whole = at_once(tokens[:, q])
        for u in range(U):
            np.testing.assert_allclose(steps[u][:, q], whole[:, u], atol=2e-5)


def test_a_cache_follows_the_hypotheses_that_are_chosen():
    decoder, encoded, patches, tokens = make()
    start = jax.jit(lambda *given: decoder.start(*given, Q, U))
    parents = jnp.array([[3, 3, 0, 1], [0, 1, 2, 3], [2, 0, 2, 0]], jnp.int32)
    mixed = np.take_along_axis(tokens, np.asarray(parents)[..., None], axis=1)
    chosen = followed = start(encoded, patches)
    step = jax.jit(decoder.step)
    for u in range(3):
        _, chosen = step(tokens[:, :, u], chosen)
        _, followed = step(mixed[:, :, u], followed)
    expected, _ = step(mixed[:, :, 3], followed)
    selected, _ = step(mixed[:, :, 3], chosen.select(parents))
    np.testing.assert_allclose(selected, expected, atol=2e-5)
    unselected, _ = step(mixed[:, :, 3], chosen)
    assert np.abs(np.asarray(unselected - expected)).max() > 0.01

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import exhaustive
from wsign_jax.decode.greedy import count_blanks, ctc_greedy


def by_the_book(ids):
    return tuple(int(i) for i, _ in itertools.groupby(ids) if i != 0)


def posteriors(ids, vocab_size):
    return jnp.log(0.1 / (vocab_size - 1) + 0.8 * jax.nn.one_hot(ids, vocab_size))


def test_collapses_repeats_then_drops_blanks():
    ids = np.array([[1, 1, 0, 1, 2, 2, 0, 0], [0, 3, 3, 3, 0, 3, 0, 2], [0] * 8, [2] * 8])
    patches = np.array([8, 6, 8, 0])
    log_probs = posteriors(ids, 4)
    decoded = ctc_greedy(log_probs, jnp.asarray(patches, jnp.int32))
    for row, count in enumerate(patches):
        [(labels, score)] = exhaustive.hypotheses(decoded, row)
        assert labels == by_the_book(ids[row, :count])
        assert not decoded.labels[row, 0, len(labels) :].any()
        np.testing.assert_allclose(score, np.max(log_probs[row, :count], axis=-1).sum(), rtol=1e-5)
    assert count_blanks(log_probs, jnp.asarray(patches, jnp.int32)).tolist() == [3, 2, 8, 0]


def test_random_ids_as_by_the_book():
    ids = np.random.default_rng(0).integers(0, 3, size=(64, 20))
    patches = np.arange(64, dtype=np.int32) % 21
    decoded = jax.jit(ctc_greedy)(posteriors(ids, 3), patches)
    for row in range(64):
        [(labels, _)] = exhaustive.hypotheses(decoded, row)
        assert labels == by_the_book(ids[row, : patches[row]])

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.decode.lm import lookup, ngrams

VOCAB = 6  # label 5 is never seen
LABELS = np.arange(VOCAB, dtype=np.int32)
CORPUS = [[1, 2, 3], [1, 1, 1, 2], [2], [3, 2, 3, 2], [4, 4], [1, 2, 4], [3, 1, 2]]


def fit(order, corpus=CORPUS, vocab_size=VOCAB):
    return lookup.prepare_lm(ngrams.estimate_ngrams(corpus, order, vocab_size))


@jax.jit
def walk(model, labels):
    """(L,) labels -> the state after them and (L, V) log probabilities at each."""

    def step(state, label):
        return model.advance(state, label), model.log_prob(state, jnp.asarray(LABELS))

    return jax.lax.scan(step, model.start, labels)


def rows_of(model, sentence):
    """Log probabilities of all labels at every place of a sentence, its end included: (U + 1, V)."""
    labels = np.zeros(8, np.int32)
    labels[: len(sentence)] = sentence
    state, rows = walk(model, labels)
    rows = np.asarray(rows)
    # The end leads to the start, from which another sentence would begin.
    assert state == model.start
    np.testing.assert_array_equal(rows[len(sentence) + 1], rows[0])
    return rows[: len(sentence) + 1]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_arrays_are_the_ngrams(order):
    estimated = ngrams.estimate_ngrams(CORPUS, order, VOCAB)
    model = lookup.prepare_lm(estimated)
    for sentence in (*CORPUS, [5, 5, 1], [3, 3, 1, 2, 2, 4], []):
        expected = []
        for place in range(len(sentence) + 1):
            before = (0, *sentence[:place])
            context = before[max(0, len(before) - order + 1) :]
            expected.append([estimated.log_prob(context, label) for label in range(VOCAB)])
        np.testing.assert_allclose(rows_of(model, sentence), expected, atol=2e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_state_has_all_the_mass(order):
    model = fit(order)
    states = jnp.arange(len(model.backoffs), dtype=jnp.int32)
    probs = np.exp(model.log_prob(states[:, None], jnp.asarray(LABELS)))
    assert probs.shape == (len(states), VOCAB)
    assert probs.min() > 0
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=2e-6)


def test_keys_that_do_not_fit_are_named():
    # 7000 different glosses are as many contexts, and those before and after one more each.
    corpus = [list(range(start, start + 7)) for start in range(1, 7001, 7)]
    with pytest.raises(
        WSignError, match=r"order 3 with \d+ contexts and 180000 labels is too large"
    ):
        fit(3, corpus, 180_000)

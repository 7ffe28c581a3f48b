import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.kneser_ney import Reference
from wsign_jax.common.errors import WSignError
from wsign_jax.decode.lm import lookup, ngrams

VOCAB = 6  # label 5 is never seen
LABELS = np.arange(VOCAB, dtype=np.int32)
sentences = st.lists(st.integers(1, VOCAB - 2), max_size=5)
corpora = st.lists(sentences, min_size=1, max_size=8).filter(any)


@jax.jit
def walk(model, labels):
    """(L,) labels -> the state after them and (L, V) log probabilities at each."""

    def step(state, label):
        return model.advance(state, label), model.log_prob(state, jnp.asarray(LABELS))

    return jax.lax.scan(step, model.start, labels)


def padded(model):
    """The same model in arrays of one size, so that many models compile once: no key is so large."""
    if isinstance(model, lookup.Bigram):
        return model

    def pad(x, value):
        return jnp.pad(x, (0, 300 - len(x)), constant_values=value)

    return model.replace(
        keys=pad(model.keys, np.iinfo(np.int32).max),
        log_probs=pad(model.log_probs, np.nan),
        targets=pad(model.targets, -1),
        backoffs=pad(model.backoffs, np.nan),
        suffixes=pad(model.suffixes, -1),
    )


def rows_of(model, sentence):
    """Log probabilities of all labels at every place of a sentence, its end included: (U + 1, V)."""
    labels = np.zeros(8, np.int32)
    labels[: len(sentence)] = sentence
    state, rows = walk(padded(model), labels)
    rows = np.asarray(rows)
    # The end leads to the start, from which another sentence would begin.
    assert state == model.start
    np.testing.assert_array_equal(rows[len(sentence) + 1], rows[0])
    return rows[: len(sentence) + 1]


@settings(max_examples=60, deadline=None)
@given(corpora, st.integers(1, 4), st.lists(st.integers(1, VOCAB - 1), max_size=6))
def test_is_kneser_neys_formula(corpus, order, sentence):
    found = rows_of(lookup.fit(corpus, order, VOCAB), sentence)
    formula = Reference(corpus, order, VOCAB)
    expected = [
        [math.log(formula.prob(label, sentence[:place])) for label in range(VOCAB)]
        for place in range(len(sentence) + 1)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=2e-6)


CORPUS = [[1, 2, 3], [1, 1, 1, 2], [2], [3, 2, 3, 2], [4, 4], [1, 2, 4], [3, 1, 2]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_state_has_all_the_mass(order):
    model = lookup.fit(CORPUS, order, VOCAB)
    count = VOCAB if order == 2 else len(model.backoffs)
    states = jnp.arange(count, dtype=jnp.int32)
    probs = np.exp(model.log_prob(states[:, None], jnp.asarray(LABELS)))
    assert probs.shape == (count, VOCAB)
    assert probs.min() > 0
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=2e-6)


def test_a_table_and_sorted_ngrams_agree():
    levels = ngrams.estimate(CORPUS, 2, VOCAB)
    table, grams = lookup.from_levels(levels), lookup.NGram.from_levels(levels)
    assert isinstance(table, lookup.Bigram)
    for sentence in (*CORPUS, [5, 5, 1], []):
        np.testing.assert_allclose(
            rows_of(table, sentence), rows_of(grams, sentence), atol=1e-6, rtol=0
        )


def test_repeats_are_known_as_such():
    rows = rows_of(lookup.fit(CORPUS, 3, VOCAB), [1, 1])
    assert rows[1, 1] > rows[1, 3]  # 1 1 was seen, 1 3 was not
    assert (
        rows[2, 1] > rows_of(lookup.fit(CORPUS, 3, VOCAB), [2, 1])[2, 1]
    )  # 1 1 1 was, 2 1 1 was not


def test_one_sentence_of_one_gloss_is_enough():
    for order in (1, 2, 3):
        rows = rows_of(lookup.fit([[2]], order, VOCAB), [2])
        assert rows[0].argmax() == (2 if order > 1 else 0) or rows[0, 0] == pytest.approx(
            rows[0, 2]
        )
        assert np.isfinite(rows).all()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_jitted_as_eager_and_compiled_once(order):
    traces = []

    @jax.jit
    def look_up(model, states, labels):
        traces.append(order)
        return model.log_prob(states, labels), model.advance(states, labels)

    model = lookup.fit(CORPUS, order, VOCAB)
    states = jnp.full((2, 3, 1), model.start)
    labels = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, size=(4, 2, 1, 5)), jnp.int32)
    for some in labels:
        found, after = look_up(model, states, some)
        assert (found.shape, found.dtype) == ((2, 3, 5), jnp.float32)
        assert (after.shape, after.dtype) == ((2, 3, 5), jnp.int32)
        np.testing.assert_allclose(found, model.log_prob(states, some), atol=1e-6)
        np.testing.assert_array_equal(after, model.advance(states, some))
        states = after[..., :1]
    assert len(traces) == 1


def test_labels_beyond_a_table_are_sorted_ngrams():
    labels = lookup._LARGEST_TABLE + 1
    model = lookup.fit([[labels - 1, 7], [7]], 2, labels)
    assert isinstance(model, lookup.NGram)
    rows = model.log_prob(model.advance(model.start, jnp.int32(7)), jnp.arange(labels))
    assert np.exp(rows).sum() == pytest.approx(1.0, abs=1e-4)
    assert rows.argmax() == 0


def test_keys_that_do_not_fit_are_named():
    # 9000 glosses in 3 orders are 27001 contexts or so, times 90000 labels.
    corpus = np.random.default_rng(0).permutation(np.repeat(np.arange(1, 9001), 3)).reshape(-1, 9)
    with pytest.raises(
        WSignError, match=r"order 3 with \d+ contexts and 90000 labels is too large"
    ):
        lookup.fit(corpus.tolist(), 3, 90_000)

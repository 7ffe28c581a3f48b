import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import exhaustive
from wsign_jax.decode.greedy import attention_greedy, blanks, ctc_greedy


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
    assert blanks(log_probs, jnp.asarray(patches, jnp.int32)).tolist() == [3, 2, 8, 0]


def test_random_ids_as_by_the_book():
    ids = np.random.default_rng(0).integers(0, 3, size=(64, 20))
    patches = np.arange(64, dtype=np.int32) % 21
    decoded = jax.jit(ctc_greedy)(posteriors(ids, 3), patches)
    for row in range(64):
        [(labels, _)] = exhaustive.hypotheses(decoded, row)
        assert labels == by_the_book(ids[row, : patches[row]])


@pytest.mark.parametrize("limited", [False, True])
def test_the_attention_decoder_says_its_best_next_gloss_until_the_end(limited):
    rows, room = 12, 6
    limits = np.arange(rows, dtype=np.int32) % 4 if limited else np.full(rows, room)
    decoder, encoded, patches = exhaustive.random_decoder(rows, 5, vocab_size=4)
    search = jax.jit(lambda limits: attention_greedy(decoder, encoded, patches, room, limits))
    found = search(jnp.asarray(limits) if limited else None)
    next_of = jax.jit(lambda tokens: decoder(tokens, encoded, patches))
    lengths = set()
    for row in range(rows):
        expected, total = [], 0.0
        while len(expected) < limits[row]:
            tokens = np.zeros((rows, room + 1), np.int32)  # it sees only what comes before
            tokens[row, 1 : len(expected) + 1] = expected
            next_log_probs = exhaustive.log_softmax(next_of(tokens)[row, len(expected)])
            total += next_log_probs.max()
            if next_log_probs.argmax() == 0:
                break
            expected.append(int(next_log_probs.argmax()))
        [(labels, score)] = exhaustive.hypotheses(found, row)
        assert labels == tuple(expected)
        np.testing.assert_allclose(score, total, atol=1e-4)
        lengths.add(len(labels))
    assert len(lengths) > 1 and max(lengths) == max(limits)

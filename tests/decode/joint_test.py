import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import exhaustive
from wsign_jax.decode.joint import Weights, attention_log_prob, joint_beam_search, rescore
from wsign_jax.decode.prefix_beam import Beams, ctc_prefix_beam_search, is_possible

V, N, U, ROWS = 4, 4, 4, 4
SENTENCES = [
    labels for length in range(U + 1) for labels in itertools.product(range(1, V), repeat=length)
]
DECODER, ENCODED, PATCHES = exhaustive.random_decoder(ROWS, N, V)
RNG = np.random.default_rng(0)
LOG_PROBS = exhaustive.log_softmax(RNG.normal(0, 2, size=(ROWS, N, V)))
LM = exhaustive.random_lm(RNG, V)
WIDE = len(SENTENCES)


@pytest.fixture(scope="module")
def attention():
    """Per row, what the attention decoder gives to every sentence."""
    return [
        exhaustive.attention_scores(DECODER, ENCODED, PATCHES, row, SENTENCES)
        for row in range(ROWS)
    ]


def truth(row, attention, weights, lm=None):
    """Sentence -> score, for all that CTC can emit."""
    emitted = exhaustive.sequence_probabilities(LOG_PROBS[row, : PATCHES[row]])
    return {
        labels: weights.ctc_weight * emitted[labels]
        + (1 - weights.ctc_weight) * attention[row][labels]
        + (weights.lm_weight * exhaustive.lm_score(lm, labels) if lm else 0.0)
        + weights.label_bonus * len(labels)
        for labels in SENTENCES
        if labels in emitted
    }


@functools.partial(jax.jit, static_argnames="beam_size")
def search(log_probs, weights, lm, beam_size=WIDE, encoded=ENCODED, patches=PATCHES):
    return joint_beam_search(DECODER, encoded, log_probs, patches, beam_size, U, weights, lm)


def check(beams, row, expected):
    found = exhaustive.hypotheses(beams, row)
    assert len(dict(found)) == len(found)
    best = max(expected, key=expected.get)
    assert found[0][0] == best
    assert {labels: pytest.approx(score, abs=2e-4) for labels, score in expected.items()} == dict(
        found
    )
    assert [score for _, score in found] == sorted(dict(found).values(), reverse=True)


@pytest.mark.parametrize(
    ("weights", "with_lm"),
    [
        (Weights(0.5), False),
        (Weights(0.3, 0.7, 0.8), True),
        (Weights(1.0), False),
        (Weights(0.6, 0.2, -0.5), True),
    ],
)
def test_a_wide_joint_beam_is_the_exhaustive_search(attention, weights, with_lm):
    lm = LM if with_lm else None
    beams = search(jnp.asarray(LOG_PROBS, jnp.float32), weights, lm)
    for row in range(ROWS):
        check(beams, row, truth(row, attention, weights, lm))


def test_without_ctc_the_attention_decoder_is_searched_alone(attention):
    beams = search(None, Weights(0.5, 0.0, 0.3), None)
    for row in range(ROWS):
        expected = {labels: attention[row][labels] + 0.3 * len(labels) for labels in SENTENCES}
        check(beams, row, expected)


def test_a_narrow_beam_finds_what_it_says_and_gains_with_width(attention):
    weights, means = Weights(0.4, 0.5, 0.2), []
    for beam_size in (1, 3, 16):
        beams = search(jnp.asarray(LOG_PROBS, jnp.float32), weights, LM, beam_size)
        scores = []
        for row in range(ROWS):
            expected = truth(row, attention, weights, LM)
            for labels, score in exhaustive.hypotheses(beams, row):
                assert score == pytest.approx(expected[labels], abs=2e-4)
            scores.append(exhaustive.hypotheses(beams, row)[0][1])
        means.append(np.mean(scores))
    assert means == sorted(means) and means[0] < means[-1]


def test_a_sentence_does_not_depend_on_its_neighbors_or_on_padding():
    weights = Weights(0.4, 0.5, 0.6)
    log_probs = jnp.asarray(LOG_PROBS, jnp.float32)
    together = search(log_probs, weights, LM, 3)
    for row in range(ROWS):
        one = slice(row, row + 1)
        padding = ((0, 0), (0, 3), (0, 0))
        encoded = jnp.pad(ENCODED[one], padding, constant_values=7.0)
        padded = jnp.pad(log_probs[one], padding, constant_values=-0.01)
        alone = search(padded, weights, LM, 3, encoded, PATCHES[one])
        assert exhaustive.hypotheses(alone, 0) == [
            (labels, pytest.approx(score, abs=1e-4))
            for labels, score in exhaustive.hypotheses(together, row)
        ]


@pytest.mark.parametrize("with_lm", [False, True])
def test_rescoring_ranks_a_beam_by_the_exact_score(attention, with_lm):
    weights, lm = Weights(0.3, 0.4, 0.5), LM if with_lm else None
    log_probs = jnp.asarray(LOG_PROBS, jnp.float32)
    beams = jax.jit(lambda x: ctc_prefix_beam_search(x, PATCHES, 6, U))(log_probs)
    rank = jax.jit(lambda *found: rescore(DECODER, ENCODED, log_probs, PATCHES, *found))
    found = rank(beams, weights, lm)
    changed = 0
    for row in range(ROWS):
        expected = truth(row, attention, weights, lm)
        before = [labels for labels, _ in exhaustive.hypotheses(beams, row)]
        after = exhaustive.hypotheses(found, row)
        assert [labels for labels, _ in after] == sorted(before, key=expected.get, reverse=True)
        for labels, score in after:
            assert score == pytest.approx(expected[labels], abs=2e-4)
        changed += [labels for labels, _ in after] != before
    assert changed
    assert int((~is_possible(found.scores)).sum()) == int((~is_possible(beams.scores)).sum()) > 0


def test_the_attention_score_of_given_sentences(attention):
    labels = np.zeros((ROWS, len(SENTENCES), U), np.int32)
    for row, number in np.ndindex(labels.shape[:2]):
        labels[row, number, : len(SENTENCES[number])] = SENTENCES[number]
    lengths = np.broadcast_to([len(x) for x in SENTENCES], labels.shape[:2]).astype(np.int32)
    beams = Beams(jnp.asarray(labels), jnp.asarray(lengths), jnp.zeros(labels.shape[:2]))
    found = jax.jit(lambda x: attention_log_prob(DECODER, ENCODED, PATCHES, x))(beams)
    expected = [[scores[labels] for labels in SENTENCES] for scores in attention]
    np.testing.assert_allclose(found, expected, atol=2e-4)

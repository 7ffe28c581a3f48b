import math

import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.decode.lm import ngrams


def exp(values):
    return {gram: pytest.approx(math.exp(value)) for gram, value in values.items()}


# Bigrams: <s> 1 twice, 1 2, 2 </s> and 1 </s> once, so D = 3 / (3 + 2). Before 1 and 2 stands one
# label, before </s> two, so D = 2 / (2 + 2) for order 1.
SINGLE = {(0,): 0.5, (1,): 0.25, (2,): 0.25}
DOUBLE = {
    (0, 1): 1.4 / 2 + 0.3 * 0.25,
    (1, 0): 0.4 / 2 + 0.6 * 0.5,
    (1, 2): 0.4 / 2 + 0.6 * 0.25,
    (2, 0): 0.4 / 1 + 0.6 * 0.5,
}
WEIGHTS = {(0,): 0.6 / 2, (1,): 0.6 * 2 / 2, (2,): 0.6}


def test_bigrams_and_trigrams_by_hand():
    model = ngrams.estimate_ngrams([[1, 2], [1]], 2, 3)
    assert (exp(model.log_probs), exp(model.backoffs)) == (SINGLE | DOUBLE, WEIGHTS)
    # One label stands before each bigram that does not begin a sentence, so order 2 is as above. Every
    # trigram is there once, and none twice, so D = 0.5.
    model = ngrams.estimate_ngrams([[1, 2], [1]], 3, 3)
    triple = {
        (0, 1, 0): 0.5 / 2 + 0.5 * DOUBLE[1, 0],
        (0, 1, 2): 0.5 / 2 + 0.5 * DOUBLE[1, 2],
        (1, 2, 0): 0.5 / 1 + 0.5 * DOUBLE[2, 0],
    }
    assert exp(model.log_probs) == SINGLE | DOUBLE | triple
    assert exp(model.backoffs) == WEIGHTS | {(0, 1): 0.5 * 2 / 2, (1, 2): 0.5}
    assert math.exp(model.log_prob((0, 1), 1)) == pytest.approx(0.5 * 0.6 * 0.25)
    assert (model.order, model.vocab_size) == (3, 3)


def test_single_glosses_are_counted_and_never_seen_ones_have_mass():
    model = ngrams.estimate_ngrams([[1, 1], [1]], 1, 3)  # 1 three times, the end twice, D = 0.5
    probs = {(0,): 1.5 / 5 + 0.2 / 3, (1,): 2.5 / 5 + 0.2 / 3, (2,): 0.2 / 3}
    assert (exp(model.log_probs), model.backoffs) == (probs, {})


def test_orders_beyond_the_longest_sentence_are_empty():
    assert ngrams.estimate_ngrams([[3], [1]], 5, 4).order == 3


@pytest.mark.parametrize(
    ("sentences", "order", "message"),
    [
        ([], 2, "learns from training labels, and there are none"),
        ([[], []], 2, "learns from training labels, and there are none"),
        ([[1], [2, 3]], 2, r"gloss id 3 is not in the vocabulary \(1 to 2\); take the label_map"),
        ([[1, 0]], 2, "gloss id 0 is not in the vocabulary"),
        ([[1]], 0, "the order of a language model is 0; make it 1 or more"),
    ],
)
def test_what_cannot_be_learnt_from(sentences, order, message):
    with pytest.raises(WSignError, match=message):
        ngrams.estimate_ngrams(sentences, order, 3)

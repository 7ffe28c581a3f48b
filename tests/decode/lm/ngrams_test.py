import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.decode.lm import ngrams


def test_a_bigram_by_hand():
    # Bigrams: <s> 1 twice, 1 2, 2 </s> and 1 </s> once, so D = 3 / (3 + 2). Before 1 and 2 stands one
    # label, before </s> two, so D = 2 / (2 + 2) for order 1.
    single, double = ngrams.estimate([[1, 2], [1]], 2, 3)
    np.testing.assert_allclose(np.exp(single.log_probs), [0.5, 0.25, 0.25])
    np.testing.assert_allclose(np.exp(single.backoffs), [0.6 / 2, 0.6 * 2 / 2, 0.6])
    assert ngrams.sequences((single, double), 2).tolist() == [[0, 1], [1, 0], [1, 2], [2, 0]]
    np.testing.assert_allclose(
        np.exp(double.log_probs),
        [1.4 / 2 + 0.3 * 0.25, 0.4 / 2 + 0.6 * 0.5, 0.4 / 2 + 0.6 * 0.25, 0.4 / 1 + 0.6 * 0.5],
    )


def test_orders_beyond_the_longest_sentence_are_empty():
    levels = ngrams.estimate([[3], [1]], 5, 4)
    assert [len(level.labels) for level in levels] == [4, 4, 2, 0, 0]
    assert ngrams.sequences(levels, 3).tolist() == [[0, 1, 0], [0, 3, 0]]
    assert ngrams.sequences(levels, 4).shape == (0, 4)


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
        ngrams.estimate(sentences, order, 3)

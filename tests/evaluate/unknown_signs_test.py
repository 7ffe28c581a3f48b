import jax.numpy as jnp
import numpy as np

from tests.helpers.decoded import sentences
from wsign_jax.evaluate import unknown_signs
from wsign_jax.evaluate.unknown_signs import Spans
from wsign_jax.train.validation import EncodedBatch


def test_every_third_gloss_is_held_out_for_impostors():
    log_probs = jnp.log(jnp.array([[[0.4, 0.3, 0.2, 0.1]]]))  # blank, and three glosses
    batch = EncodedBatch(*[jnp.zeros(1)] * 5)._replace(log_probs=log_probs)
    held = np.exp(unknown_signs.hold_out(batch).log_probs)[0, 0]
    np.testing.assert_allclose(held, [4 / 7, 0, 2 / 7, 1 / 7], rtol=1e-5)


def test_a_threshold_is_of_sentences_that_had_no_part_in_the_fit():
    rng = np.random.default_rng(0)
    # 40 sentences of one signer, with a gloss each, and one that is wrong.
    ids = np.arange(41) % 2 + 1
    vectors = np.where(ids[:, None] == [[0, 1, 2]], -1.0, -6.0) + rng.normal(0, 1, (41, 3))
    vectors[40] = 50
    spans = Spans(vectors, ids, np.arange(41) < 40, np.arange(41))
    known = [sentences()[0]] * 41
    below = unknown_signs.find_threshold(spans, spans, known, 0.05)
    # The same by hand.
    scores = []
    for row in range(40):
        others = np.flatnonzero((np.arange(40) % 5) != row % 5)
        fitted = unknown_signs.fit(spans.only(others))
        scores.append(fitted.scores(vectors[row : row + 1], ids[row : row + 1])[0])
    np.testing.assert_allclose(below, np.sort(scores)[2], rtol=1e-6)  # 5 % of 40 lie below
    nothing = spans.only(np.zeros(41, bool))
    assert unknown_signs.find_threshold(nothing, nothing, known, 0.05) is None

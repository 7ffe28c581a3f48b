import jax.numpy as jnp
import numpy as np
import optax

from tests.helpers import exhaustive
from wsign_jax.decode.ranking import gloss_ranks, single_gloss_scores


def random_posteriors(rows, patches, vocab_size):
    logits = np.random.default_rng(0).normal(0, 3, (rows, patches, vocab_size))
    return exhaustive.log_softmax(logits).astype(np.float32)


def test_scores_are_those_of_trying_every_path():
    log_probs, lengths = random_posteriors(6, 5, 4), np.array([1, 2, 3, 4, 5, 0], np.int32)
    scores = single_gloss_scores(jnp.asarray(log_probs), lengths)
    for row, patches in enumerate(lengths):
        totals = exhaustive.sequence_probabilities(log_probs[row, :patches])
        expected = [-np.inf, *(totals.get((gloss,), -np.inf) for gloss in (1, 2, 3))]
        np.testing.assert_allclose(scores[row], expected, rtol=1e-5)


def test_scores_are_those_of_optax():
    log_probs, lengths = random_posteriors(4, 40, 6), np.array([40, 17, 1, 30], np.int32)
    scores = single_gloss_scores(jnp.asarray(log_probs), lengths)
    padding = (np.arange(40)[None] >= lengths[:, None]).astype(np.float32)
    for gloss in range(1, 6):
        labels = np.full((4, 1), gloss, np.int32)
        losses = optax.ctc_loss(log_probs, padding, labels, np.zeros((4, 1), np.float32))
        np.testing.assert_allclose(scores[:, gloss], -losses, rtol=1e-5)


def test_ranks_by_hand():
    """Of one patch, the posteriors are the scores; equal glosses share the last of their places."""
    likely = np.log([[0.6, 0.1, 0.25, 0.05], [0.1, 0.3, 0.3, 0.3], [0.9, 0.05, 0.03, 0.02]])
    log_probs = jnp.asarray(np.repeat(likely[:, None], 2, axis=1), jnp.float32)
    for glosses, places in (([2, 1, 1], [1, 3, 1]), ([1, 2, 2], [2, 3, 2]), ([3, 3, 3], [3, 3, 3])):
        ranks = gloss_ranks(log_probs, np.ones(3, np.int32), np.array(glosses, np.int32))
        assert ranks.tolist() == places
    shifted = log_probs + jnp.arange(6.0).reshape(3, 2, 1)  # logits
    assert gloss_ranks(shifted, np.full(3, 2, np.int32), np.array([2, 1, 3])).tolist() == [1, 3, 3]

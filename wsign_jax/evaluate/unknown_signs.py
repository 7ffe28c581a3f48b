"""Fits what tells unknown signs to a validation split, and judges it with glosses held out."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.decode import unknown
from wsign_jax.decode.unknown import Familiarity
from wsign_jax.report.sentences import Sentence
from wsign_jax.train.validation import EncodedBatch

_FOLDS = 5
_LEAST_SIGNERS = 3  # with fewer, folds are of sentences
_IMPOSSIBLE = -1e9  # a log posterior


class Spans(NamedTuple):
    """The glosses that a decoder has found in a split, in the order of its sentences."""

    vectors: np.ndarray  # (n, V), see `unknown.span_vectors`
    ids: np.ndarray  # (n,)
    right: np.ndarray  # (n,) bool
    sentences: np.ndarray  # (n,) index into the split

    def only(self, kept: np.ndarray) -> "Spans":
        """Returns the spans of which `kept` (n,) is true."""
        return Spans(*(array[kept] for array in self))


def hold_out(batch: EncodedBatch) -> EncodedBatch:
    """Takes every third gloss from a batch's log posteriors, and spreads the rest anew."""
    held = jnp.arange(batch.log_probs.shape[2], dtype=jnp.int32) % 3 == 1
    left = jnp.where(held[None, None], _IMPOSSIBLE, batch.log_probs)
    return batch._replace(log_probs=jax.nn.log_softmax(left))


def fit(spans: Spans) -> Familiarity:
    """Fits the familiarity of glosses to the spans that are right."""
    good = spans.only(spans.right)
    return unknown.fit_familiarity(good.vectors, good.ids, spans.vectors.shape[1])


def find_threshold(
    reference: Spans, spans: Spans, sentences: Sequence[Sentence], false_rejects: float
) -> float | None:
    """Returns the score below which a share of the right glosses in `spans` lies; None without any.

    Each is judged by a fit to the right ones of `reference` in which neither its sentence nor, among
    three signers or more, its signer takes part.
    """
    folds, scores = _folds(sentences), []
    right = spans.only(spans.right)
    for fold in np.unique(folds[right.sentences]):
        others = fit(reference.only(folds[reference.sentences] != fold))
        judged = right.only(folds[right.sentences] == fold)
        scores.append(others.scores(judged.vectors, judged.ids))
    known = np.concatenate(scores) if scores else np.zeros(0)
    known = known[known < np.inf]  # the others have no example of the gloss
    if not len(known):
        return None
    # Attention may find glosses that no span can be told of; they score minus infinity.
    return float(np.quantile(known, false_rejects, method="higher").clip(-1e9, 1e9))


def _folds(sentences: Sequence[Sentence]) -> np.ndarray:
    """Returns the fold of each sentence: (n,)."""
    signers, number = np.unique([x.signer for x in sentences], return_inverse=True)
    if len(signers) < _LEAST_SIGNERS:
        number = np.arange(len(sentences))
    return number % _FOLDS

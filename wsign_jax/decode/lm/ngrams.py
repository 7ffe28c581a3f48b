"""Gloss n-grams with their probabilities: a back-off model in numpy, and its Kneser-Ney estimate.

P(w | h) is given by the n-gram h w if that is known. Otherwise it is the back-off weight of h (1 if h is
not known either) times P(w | h'), in which h' is h without its first gloss.

Id 0 is the start of a sentence if it comes first, and the end if it comes last.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from wsign_jax.common.errors import WSignError

# Ney's discount if the counts are too few to estimate one.
_DEFAULT_DISCOUNT = 0.5


@dataclasses.dataclass(frozen=True)
class Level:
    """The n-grams of one order as one level of a trie, sorted by prefix and label.

    The first level has every label 0..V-1, in this order. Its row 0 has the probability of the end and
    the back-off weight of the start.
    """

    prefixes: np.ndarray  # (K,) int64 row in the level before; 0 in the first level
    labels: np.ndarray  # (K,) int64 last label
    log_probs: np.ndarray  # (K,) float64 natural log P(label | prefix)
    backoffs: np.ndarray  # (K,) float64 natural log of the back-off weight; 0 in the last level


Levels = tuple[Level, ...]  # orders 1, 2, ...


def sequences(levels: Levels, order: int) -> np.ndarray:
    """Returns the n-grams of an order as labels: (K, order) int64."""
    columns = []
    rows = np.arange(len(levels[order - 1].labels))
    for level in reversed(levels[:order]):
        columns.append(level.labels[rows])
        rows = level.prefixes[rows]
    return np.stack(columns[::-1], axis=1)


@dataclasses.dataclass(frozen=True)
class _Counts:
    """The counts of the n-grams of one order in a text."""

    prefixes: np.ndarray  # (K,) row in the order before
    labels: np.ndarray  # (K,)
    suffixes: np.ndarray  # (K,) row of the n-gram without its first label, in the order before
    starts: np.ndarray  # (K,) bool, whether it begins with the start of a sentence
    counts: np.ndarray  # (K,)


def estimate(sentences: Sequence[Sequence[int]], order: int, vocab_size: int) -> Levels:
    """Estimates a model by interpolated Kneser-Ney smoothing, with one discount per order.

    Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling", TR-10-98,
    section 2.7:

        P(w | h) = max(c(h w) - D, 0) / c(h .) + D N(h .) / c(h .) P(w | h'),   D = n1 / (n1 + 2 n2)

    N(h .) is how many different w follow h; n1 and n2 are how many n-grams of the order have the counts
    1 and 2. D is 0.5 if n1 or n2 is 0. The highest order counts occurrences. A lower order counts the
    different labels that an n-gram follows, or occurrences if it begins a sentence. Order 0 is uniform
    over the glosses and the end, so that n-grams that were never seen have mass too.

    Args:
        sentences: label sequences, ids 1..V-1.
        order: the longest n-gram.
        vocab_size: V, glosses and the blank, whose id stands for start and end.

    Raises:
        WSignError: labels are missing, an id is out of range, or the order is below 1.
    """
    if order < 1:
        raise WSignError(f"the order of a language model is {order}; make it 1 or more")
    if not any(len(sentence) for sentence in sentences):
        raise WSignError("a language model learns from training labels, and there are none")
    counted = _count(sentences, order, vocab_size)
    levels: list[Level] = []
    below = np.full(vocab_size, 1 / vocab_size)  # P of every n-gram's suffix
    for number, grams in enumerate(counted):
        counts = grams.counts
        if number + 1 < order:
            longer = counted[number + 1]
            kinds = np.bincount(longer.suffixes, minlength=len(counts))
            keeps = grams.starts if number else np.zeros(vocab_size, bool)
            counts = np.where(keeps, counts, kinds)
        discount = _discount(counts)
        contexts = len(levels[-1].labels) if levels else 1
        totals = np.bincount(grams.prefixes, counts, minlength=contexts)
        followers = np.bincount(grams.prefixes, counts > 0, minlength=contexts)
        # The weight is 1 if no label follows, as after the end.
        weights = np.where(totals > 0, discount * followers / np.maximum(totals, 1), 1.0)
        if levels:
            levels[-1] = dataclasses.replace(levels[-1], backoffs=np.log(weights))
        explicit = np.maximum(counts - discount, 0) / np.maximum(totals, 1)[grams.prefixes]
        probs = explicit + weights[grams.prefixes] * (below[grams.suffixes] if number else below)
        levels.append(Level(grams.prefixes, grams.labels, np.log(probs), np.zeros(len(probs))))
        below = probs
    return tuple(levels)


def _discount(counts: np.ndarray) -> float:
    once, twice = int(np.sum(counts == 1)), int(np.sum(counts == 2))
    return once / (once + 2 * twice) if once and twice else _DEFAULT_DISCOUNT


def _count(sentences: Sequence[Sequence[int]], order: int, vocab_size: int) -> list[_Counts]:
    """Counts the n-grams of every order up to `order`; order 1 has every label."""
    labels = [np.asarray(sentence, np.int64).reshape(-1) for sentence in sentences]
    flat = np.concatenate(labels)
    outside = flat[(flat < 1) | (flat >= vocab_size)]
    if len(outside):
        raise WSignError(
            f"gloss id {outside[0]} is not in the vocabulary (1 to {vocab_size - 1}); "
            "take the label_map.json that belongs to the labels"
        )
    text = np.concatenate([np.pad(sentence, 1) for sentence in labels])
    place = np.concatenate([np.arange(len(sentence) + 2) for sentence in labels])
    every = np.arange(vocab_size)
    zeros = np.zeros(vocab_size, np.int64)
    seen = np.bincount(text[place > 0], minlength=vocab_size)
    counted = [_Counts(zeros, every, zeros, every == 0, seen)]
    rows = text  # of the n-gram that ends at each place, in its order
    for n in range(2, order + 1):
        ends = np.flatnonzero(place >= n - 1)
        keys, first, inverse, counts = np.unique(
            rows[ends - 1] * vocab_size + text[ends],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        prefixes, last = np.divmod(keys, vocab_size)
        suffixes = rows[ends[first]]
        counted.append(_Counts(prefixes, last, suffixes, counted[-1].starts[prefixes], counts))
        rows = np.zeros_like(text)
        rows[ends] = inverse
    return counted

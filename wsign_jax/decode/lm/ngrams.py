"""Gloss n-grams with their probabilities: a back-off model, and its Kneser-Ney estimate.

P(w | h) is given by the n-gram h w if that is known. Otherwise it is the back-off weight of h (1 if h is
not known either) times P(w | h'), in which h' is h without its first gloss.

Label 0 is the start of a sentence if a label follows it, and the end if it comes last.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from wsign_jax.common.errors import WSignError

Gram = tuple[int, ...]  # labels

# Ney's discount if the counts are too few to estimate one.
_DEFAULT_DISCOUNT = 0.5


@dataclasses.dataclass(frozen=True)
class NGrams:
    """The n-grams of all orders. Those of order 1 are the end and every gloss, labels 0..V-1."""

    log_probs: dict[Gram, float]  # natural log P(last label | the labels before it)
    backoffs: dict[Gram, float]  # natural log of a context's weight, 0 if left out; (0,): start

    @property
    def order(self) -> int:
        """The length of the longest n-gram."""
        return max(map(len, self.log_probs))

    @property
    def vocab_size(self) -> int:
        """V, glosses and the blank."""
        return sum(len(gram) == 1 for gram in self.log_probs)

    def log_prob(self, context: Gram, label: int) -> float:
        """Returns the natural log P(label | context)."""
        if (*context, label) in self.log_probs:
            return self.log_probs[*context, label]
        return self.backoffs.get(context, 0.0) + self.log_prob(context[1:], label)


def estimate_ngrams(sentences: Sequence[Sequence[int]], order: int, vocab_size: int) -> NGrams:
    """Estimates a model by interpolated Kneser-Ney smoothing, with one discount per order.

    Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling", TR-10-98,
    section 2.7:

        P(w | h) = max(c(h w) - D, 0) / c(h .) + D N(h .) / c(h .) P(w | h'),   D = n1 / (n1 + 2 n2)

    N(h .) is how many different w follow h; n1 and n2 are how many n-grams of the order have the counts
    1 and 2. D is 0.5 if n1 or n2 is 0. The highest order counts occurrences. A lower order counts the
    different labels that an n-gram follows, or occurrences if it begins a sentence. Order 0 is uniform
    over the glosses and the end, so that n-grams that were never seen have mass too. Sentences have ids
    1..V-1; the blank's stands for start and end.

    Raises:
        WSignError: labels are missing, an id is out of range, or the order is below 1.
    """
    if order < 1:
        raise WSignError(f"the order of a language model is {order}; make it 1 or more")
    if not any(sentences):
        raise WSignError("a language model learns from training labels, and there are none")
    probs: dict[Gram, float] = {}
    weights: dict[Gram, float] = {}
    for counts in _count(sentences, order, vocab_size):
        discount = _discount(counts.values())
        totals: Counter[Gram] = Counter()
        followers: Counter[Gram] = Counter()
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            followers[gram[:-1]] += count > 0
        weights |= {context: discount * followers[context] / totals[context] for context in totals}
        for gram, count in counts.items():
            lower = probs[gram[1:]] if gram[1:] else 1 / vocab_size
            explicit = max(count - discount, 0) / totals[gram[:-1]]
            probs[gram] = explicit + weights[gram[:-1]] * lower
    del weights[()]  # nothing is shorter than the empty context
    log_probs, backoffs = (
        {gram: math.log(value) for gram, value in values.items()} for values in (probs, weights)
    )
    return NGrams(log_probs, backoffs)


def _discount(counts: Iterable[int]) -> float:
    found = Counter(counts)
    once, twice = found[1], found[2]
    return once / (once + 2 * twice) if once and twice else _DEFAULT_DISCOUNT


def _count(
    sentences: Sequence[Sequence[int]], order: int, vocab_size: int
) -> list[dict[Gram, int]]:
    """Counts the n-grams of all orders, as `estimate_ngrams` says; order 1 has every label."""
    outside = [id for id in itertools.chain(*sentences) if not 1 <= id < vocab_size]
    if outside:
        raise WSignError(
            f"gloss id {outside[0]} is not in the vocabulary (1 to {vocab_size - 1}); "
            "take the label_map.json that belongs to the labels"
        )
    counted: list[dict[Gram, int]] = [{(id,): 0 for id in range(vocab_size)}]
    counted += [{} for _ in range(1, order)]
    for sentence in sentences:
        text = (0, *sentence, 0)
        for n, counts in enumerate(counted, 1):
            for place in range(n == 1, len(text) - n + 1):  # the start alone does not count
                gram = text[place : place + n]
                counts[gram] = counts.get(gram, 0) + 1
    for shorter, longer in itertools.pairwise(counted):
        before = Counter(gram[1:] for gram in longer)
        for gram in shorter:
            if len(gram) == 1 or gram[0] != 0:
                shorter[gram] = before[gram]
    return counted

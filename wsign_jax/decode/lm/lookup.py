"""Gloss language models that a jitted search looks up: states, probabilities, next states.

Label 0 is the end of the sentence, as in the attention decoder. In every state the probabilities of the
labels 0..V-1 sum to 1, whatever the source of the n-grams, because a search compares hypotheses in
different states.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from wsign_jax.common.errors import WSignError
from wsign_jax.decode.lm.ngrams import Gram, NGrams

_LARGEST_KEY = np.iinfo(np.int32).max


class LanguageModel(struct.PyTreeNode):
    """Back-off n-grams as arrays. A state is the longest known context that ends the labels so far.

    An n-gram is a context and a label. The n-grams are sorted by key = context * V + label. Context 0,
    the empty one, has every label. Ids out of range are not noticed.
    """

    keys: jax.Array  # (K,) int32
    log_probs: jax.Array  # (K,) float32
    targets: jax.Array  # (K,) int32 state after the n-gram
    backoffs: jax.Array  # (C,) float32 log weight of each context
    suffixes: jax.Array  # (C,) int32 longest known context that ends it
    start: jax.Array  # () int32 state at the start of a sentence
    order: int = struct.field(pytree_node=False)
    vocab_size: int = struct.field(pytree_node=False)

    def log_prob(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns log P(label | state), of two int32 arrays that are broadcast; label 0 is the end.

        Returns:
            (...) float32.
        """
        found, weights = self._find(states, labels)
        return weights + self.log_probs[found]

    def advance(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns the (...) int32 states after further labels; the end leads to the start."""
        return self.targets[self._find(states, labels)[0]]

    def _find(self, states: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The longest known n-gram that ends in each label, and the log weight of backing off to it."""
        contexts, labels = jnp.broadcast_arrays(states, labels)
        found, weights = labels, jnp.zeros(labels.shape, jnp.float32)
        # A context has fewer labels than the order, so as many steps reach the empty one.
        for _ in range(self.order - 1):
            keys = contexts * self.vocab_size + labels
            found = jnp.minimum(jnp.searchsorted(self.keys, keys), len(self.keys) - 1)
            known = self.keys[found] == keys
            weights = jnp.where(known, weights, weights + self.backoffs[contexts])
            contexts = jnp.where(known, contexts, self.suffixes[contexts])
        return jnp.where(contexts == 0, labels, found), weights


def prepare_lm(ngrams: NGrams) -> LanguageModel:
    """Numbers the contexts, links each to its suffix, and scales every context's mass to 1.

    A context is an n-gram that a label follows or that has a back-off weight.

    Raises:
        WSignError: there are too many n-grams for 32-bit keys.
    """
    grams = sorted(ngrams.log_probs, key=_length_first)
    weighted = {context for context, weight in ngrams.backoffs.items() if weight}
    contexts = sorted(weighted | {gram[:-1] for gram in grams}, key=_length_first)
    number = {context: place for place, context in enumerate(contexts)}
    vocab_size = ngrams.vocab_size
    if len(contexts) * vocab_size > _LARGEST_KEY:
        raise WSignError(
            f"a language model of order {ngrams.order} with {len(contexts)} contexts and {vocab_size} "
            "labels is too large for 32-bit keys; lower its order, or prune its n-grams"
        )

    def state(labels: Gram) -> int:
        return number[labels] if labels in number else state(labels[1:])

    suffixes = np.array([state(context[1:]) for context in contexts])
    log_mass = _log_mass(ngrams, contexts, suffixes)
    of_gram = np.array([number[gram[:-1]] for gram in grams])
    log_probs = np.array([ngrams.log_probs[gram] for gram in grams]) - log_mass[of_gram]
    backoffs = np.array([ngrams.backoffs.get(context, 0.0) for context in contexts])
    backoffs += log_mass[suffixes] - log_mass
    return LanguageModel(
        jnp.asarray(of_gram * vocab_size + [gram[-1] for gram in grams], jnp.int32),
        jnp.asarray(log_probs, jnp.float32),
        jnp.asarray([state(gram) for gram in grams], jnp.int32),
        jnp.asarray(backoffs, jnp.float32),
        jnp.asarray(suffixes, jnp.int32),
        jnp.asarray(state((0,)), jnp.int32),
        ngrams.order,
        vocab_size,
    )


def _length_first(gram: Gram) -> tuple[int, Gram]:
    return len(gram), gram


def _log_mass(ngrams: NGrams, contexts: Sequence[Gram], suffixes: np.ndarray) -> np.ndarray:
    """Returns the log of the labels' mass in every context, shorter contexts first.

    The mass of a context is that of its own n-grams, plus its back-off weight times the mass that its
    suffix leaves for the other labels. With both parts scaled, the result is a back-off model again.
    """
    own: defaultdict[Gram, float] = defaultdict(float)
    covered: defaultdict[Gram, float] = defaultdict(float)
    for gram, value in ngrams.log_probs.items():
        context = gram[:-1]
        own[context] += math.exp(value)
        if context:
            covered[context] += math.exp(ngrams.log_prob(context[1:], gram[-1]))
    mass: list[float] = []
    for context, suffix in zip(contexts, suffixes, strict=True):
        left = max(mass[suffix] - covered[context], 0.0) if context else 0.0
        mass.append(own[context] + math.exp(ngrams.backoffs.get(context, 0.0)) * left)
    return np.log(mass)

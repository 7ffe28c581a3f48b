"""Gloss language models that a jitted search looks up: states, probabilities, next states.

Label 0 is the end of the sentence, as in the attention decoder. In every state the probabilities of the
labels 0..V-1 sum to 1, whatever the source of the n-grams, because a search compares hypotheses in
different states.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.lm import arpa, ngrams

_LARGEST_TABLE = 4096  # labels of a `Bigram`; its table then has 64 MB
_LARGEST_KEY = np.iinfo(np.int32).max


class LanguageModel(Protocol):
    """A language model of arrays only, for a jitted function. Ids out of range are not noticed."""

    @property
    def start(self) -> jax.Array:
        """The state at the start of a sentence, () int32."""

    def log_prob(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns the natural log P(label | state).

        Args:
            states: (...) int32.
            labels: (...) int32, 0 for the end; the two shapes are broadcast.

        Returns:
            (...) float32.
        """

    def advance(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns the (...) int32 states after further labels; the end leads to the start."""


class Bigram(struct.PyTreeNode):
    """A model of order 2 as a table: a state is the last label, or 0 at the start."""

    table: jax.Array  # (V, V) float32 log P(column | row)

    @property
    def start(self) -> jax.Array:
        """See `LanguageModel`."""
        return jnp.zeros((), jnp.int32)

    def log_prob(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """See `LanguageModel`."""
        states, labels = _broadcast(states, labels)
        return self.table[states, labels]

    def advance(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """See `LanguageModel`."""
        return _broadcast(states, labels)[1]

    @classmethod
    def from_levels(cls, levels: ngrams.Levels) -> "Bigram":
        """Makes the table from n-grams of order 2."""
        single, double = levels
        table = single.backoffs[:, None] + single.log_probs[None]
        table[double.prefixes, double.labels] = double.log_probs
        mass = np.exp(table).sum(axis=1, keepdims=True)
        return cls(jnp.asarray(table - np.log(mass), jnp.float32))


class NGram(struct.PyTreeNode):
    """A model of any order: a state is the longest known context that ends the labels so far.

    An n-gram is a context and a label. The n-grams are sorted by key = context * V + label. Context 0,
    the empty one, has every label.
    """

    keys: jax.Array  # (K,) int32
    log_probs: jax.Array  # (K,) float32
    targets: jax.Array  # (K,) int32 state after the n-gram
    backoffs: jax.Array  # (C,) float32 log weight of each context
    suffixes: jax.Array  # (C,) int32 longest known context that ends it
    start: jax.Array  # () int32
    order: int = struct.field(pytree_node=False)
    vocab_size: int = struct.field(pytree_node=False)

    def log_prob(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """See `LanguageModel`."""
        found, weights = self._find(states, labels)
        return weights + self.log_probs[found]

    def advance(self, states: jax.Array, labels: jax.Array) -> jax.Array:
        """See `LanguageModel`."""
        return self.targets[self._find(states, labels)[0]]

    def _find(self, states: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The longest known n-gram that ends in each label, and the log weight of backing off to it."""
        states, labels = _broadcast(states, labels)

        def search(contexts: jax.Array) -> tuple[jax.Array, jax.Array]:
            keys = contexts * self.vocab_size + labels
            found = jnp.minimum(jnp.searchsorted(self.keys, keys), len(self.keys) - 1)
            return found, self.keys[found] == keys

        def back_off(
            _: jax.Array, carry: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, jax.Array]:
            contexts, weights = carry
            _, known = search(contexts)
            return (
                jnp.where(known, contexts, self.suffixes[contexts]),
                jnp.where(known, weights, weights + self.backoffs[contexts]),
            )

        # A context has fewer labels than the order, so as many steps reach the empty one.
        carry = (states, jnp.zeros(states.shape, jnp.float32))
        contexts, weights = jax.lax.fori_loop(0, self.order - 1, back_off, carry)
        return search(contexts)[0], weights

    @classmethod
    def from_levels(cls, levels: ngrams.Levels) -> "NGram":
        """Makes the arrays from n-grams of any order.

        Raises:
            WSignError: keys do not fit int32.
        """
        tables = _tables(levels)
        vocab_size = len(levels[0].labels)
        contexts = len(tables.backoffs)
        if contexts * vocab_size > _LARGEST_KEY:
            raise WSignError(
                f"a language model of order {len(levels)} with {contexts} contexts and {vocab_size} "
                "labels is too large for 32-bit keys; lower its order, or prune its n-grams"
            )
        ints = (tables.keys, tables.targets, tables.suffixes, tables.targets[0])
        keys, targets, suffixes, start = (jnp.asarray(x, jnp.int32) for x in ints)
        floats = (jnp.asarray(x, jnp.float32) for x in (tables.log_probs, tables.backoffs))
        log_probs, backoffs = floats
        return cls(keys, log_probs, targets, backoffs, suffixes, start, len(levels), vocab_size)


def from_levels(levels: ngrams.Levels) -> LanguageModel:
    """Makes a table for order 2 and not too many labels, otherwise sorted n-grams.

    Raises:
        WSignError: there are too many n-grams for 32-bit keys.
    """
    if len(levels) == 2 and len(levels[0].labels) <= _LARGEST_TABLE:
        return Bigram.from_levels(levels)
    return NGram.from_levels(levels)


def fit(sentences: Sequence[Sequence[int]], order: int, vocab_size: int) -> LanguageModel:
    """Fits a Kneser-Ney model to training labels; arguments and errors as in `ngrams.estimate`.

    To keep it, give the same `ngrams.estimate` to `arpa.write`.
    """
    return from_levels(ngrams.estimate(sentences, order, vocab_size))


def read_arpa(path: pathlib.Path, vocabulary: Vocabulary) -> LanguageModel:
    """Reads a model from an ARPA file; missing glosses and errors as in `arpa.read`."""
    return from_levels(arpa.read(path, vocabulary))


def _broadcast(states: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = jnp.broadcast_shapes(jnp.shape(states), jnp.shape(labels))
    return (
        jnp.broadcast_to(jnp.asarray(states, jnp.int32), shape),
        jnp.broadcast_to(jnp.asarray(labels, jnp.int32), shape),
    )


# ---------------------------------------------------------------------------- contexts from n-grams


@dataclasses.dataclass
class _Tables:
    """The arrays of `NGram` while they grow, in int64 and float64."""

    keys: np.ndarray
    log_probs: np.ndarray
    lower: np.ndarray  # (K,) log P(label | the context's suffix)
    targets: np.ndarray
    backoffs: np.ndarray
    suffixes: np.ndarray

    def find(
        self, contexts: np.ndarray, labels: np.ndarray, vocab_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Does the same as `NGram._find`, among the n-grams so far."""
        contexts, weights = contexts.copy(), np.zeros(len(contexts))
        while True:
            keys = contexts * vocab_size + labels
            found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            unknown = self.keys[found] != keys
            if not unknown.any():
                return found, weights
            weights[unknown] += self.backoffs[contexts[unknown]]
            contexts[unknown] = self.suffixes[contexts[unknown]]


def _tables(levels: ngrams.Levels) -> _Tables:
    """Numbers the contexts, links each to its suffix, and scales every context's mass to 1.

    A context is an n-gram that a label follows or that has a back-off weight. They are numbered by
    length, and then in the order of the levels, so that all keys are sorted.
    """
    vocab_size = len(levels[0].labels)
    none = np.zeros(0, np.int64)
    tables = _Tables(none, np.zeros(0), np.zeros(0), none, np.zeros(1), np.zeros(1, np.int64))
    contexts_of = np.zeros(1, np.int64)  # context of every row of the level before, or -1
    first = [0]  # first context of every length
    for number, level in enumerate(levels):
        contexts = contexts_of[level.prefixes]
        if number == 0:
            lower, shorter = np.full(vocab_size, -np.inf), np.zeros(vocab_size, np.int64)
        else:
            found, weights = tables.find(tables.suffixes[contexts], level.labels, vocab_size)
            lower, shorter = weights + tables.log_probs[found], tables.targets[found]
        known = level.backoffs != 0
        if number + 1 < len(levels):
            known[levels[number + 1].prefixes] = True
        first.append(len(tables.backoffs))
        contexts_of = np.full(len(known), -1)
        contexts_of[known] = first[-1] + np.arange(known.sum())
        targets = np.where(known, contexts_of, shorter)
        tables = _Tables(
            np.concatenate([tables.keys, contexts * vocab_size + level.labels]),
            np.concatenate([tables.log_probs, level.log_probs]),
            np.concatenate([tables.lower, lower]),
            np.concatenate([tables.targets, targets]),
            np.concatenate([tables.backoffs, level.backoffs[known]]),
            np.concatenate([tables.suffixes, shorter[known]]),
        )
    _normalize(tables, [*first, len(tables.backoffs)], vocab_size)
    return tables


def _normalize(tables: _Tables, first: Sequence[int], vocab_size: int) -> None:
    """Scales the mass of the labels to 1 in every context; `first` ends with the number of contexts.

    The mass of a context is that of its own n-grams, plus its back-off weight times the mass that its
    suffix leaves for the other labels. With both parts scaled, the result is a back-off model again.
    """
    contexts = tables.keys // vocab_size
    count = len(tables.backoffs)
    own = np.bincount(contexts, np.exp(tables.log_probs), minlength=count)
    covered = np.bincount(contexts, np.exp(tables.lower), minlength=count)
    weights = np.exp(tables.backoffs)
    mass = own.copy()
    for start, end in itertools.pairwise(first[1:]):
        part = slice(start, end)
        left = np.maximum(mass[tables.suffixes[part]] - covered[part], 0.0)
        mass[part] += weights[part] * left
    tables.log_probs = tables.log_probs - np.log(mass)[contexts]
    tables.backoffs = tables.backoffs + np.log(mass[tables.suffixes]) - np.log(mass)

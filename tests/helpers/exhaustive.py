"""Small decoding problems and their answers by trying every path and every sequence."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from wsign_jax.model.decoder import Decoder


@struct.dataclass
class TableLM:
    """A bigram model from a table: state = last gloss, 0 at the start; column 0 is the end."""

    table: jax.Array  # (V, V) log probabilities

    @property
    def start(self):
        return jnp.int32(0)

    def log_prob(self, states, labels):
        return self.table[states, labels]

    def advance(self, states, labels):
        return jnp.broadcast_to(labels, jnp.broadcast_shapes(states.shape, labels.shape))


def random_lm(rng, vocab_size):
    """A table of random log probabilities, rows summing to one."""
    logits = rng.normal(0, 2, size=(vocab_size, vocab_size))
    return TableLM(jnp.asarray(log_softmax(logits), jnp.float32))


def log_softmax(x):
    """Over the last axis, in float64."""
    x = np.asarray(x, np.float64)
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def collapse(path):
    """A path's labels: repeats joined, blanks out."""
    return tuple(id for id, _ in itertools.groupby(path) if id)


def sequence_probabilities(log_probs):
    """log P of every label sequence that (N, V) log posteriors can emit, summed over all paths."""
    patches, vocab_size = log_probs.shape
    totals = {}
    for path in itertools.product(range(vocab_size), repeat=patches):
        score = sum(log_probs[n, id] for n, id in enumerate(path))
        labels = collapse(path)
        totals[labels] = np.logaddexp(totals.get(labels, -np.inf), score)
    return totals


def random_decoder(rows, patches, vocab_size, width=16):
    """An attention decoder with random weights, encoded patches, and how many are valid."""
    decoder = Decoder(width, 2, 32, 1, 0.0, vocab_size, dtype=jnp.float32, rngs=nnx.Rngs(3))
    # As it is made it would say again whatever it was fed, the end first of all.
    decoder.embed.embedding[...] = 0.2 * decoder.embed.embedding[...]
    decoder.norm.scale[...] = 8 * decoder.norm.scale[...]
    encoded = 3 * jax.random.normal(jax.random.key(1), (rows, patches, width))
    counts = np.arange(rows, dtype=np.int32) % patches + 1
    return decoder, encoded, jnp.asarray(counts)


def attention_scores(decoder, encoded, patches, row, sentences):
    """log P that the attention decoder gives to whole sentences of a row, their ends included."""
    many, longest = len(sentences), max(map(len, sentences))
    tokens = np.zeros((many, longest + 1), np.int32)
    for padded, labels in zip(tokens, sentences, strict=True):
        padded[1 : len(labels) + 1] = labels
    logits = decoder(
        jnp.asarray(tokens),
        jnp.broadcast_to(encoded[row], (many, *encoded.shape[1:])),
        jnp.broadcast_to(patches[row], many),
    )
    log_probs = log_softmax(logits)
    return {
        labels: sum(log_probs[number, u, id] for u, id in enumerate((*labels, 0)))
        for number, labels in enumerate(sentences)
    }


def lm_score(lm, labels):
    """log P of a whole sentence, its end included."""
    table = np.asarray(lm.table)
    return sum(table[a, b] for a, b in itertools.pairwise((0, *labels, 0)))


def hypotheses(beams, row):
    """A row's hypotheses as tuples of labels, impossible ones left out, with their scores."""
    lengths, scores = np.asarray(beams.label_lengths[row]), np.asarray(beams.scores[row])
    labels = [tuple(map(int, x[:n])) for x, n in zip(beams.labels[row], lengths, strict=True)]
    return [(x, s) for x, s in zip(labels, scores, strict=True) if s > -1e29]

"""Greedy decoding: CTC's best id of every patch, or the attention decoder's best next gloss."""

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.model.decoder import Decoder, DecoderCache


def ctc_greedy(log_probs: jax.Array, lengths: jax.Array) -> Beams:
    """Returns the best path of each row, with repeats collapsed and blanks removed.

    The log posteriors are (B, N, V), the numbers of valid patches (B,).

    Returns:
        Beams of one hypothesis with U = N; the score is that of the path.
    """
    best = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
    valid = jnp.arange(best.shape[1], dtype=jnp.int32)[None] < lengths[:, None]
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=BLANK_ID)[:, :-1]
    kept = valid & (best != BLANK_ID) & (best != before)
    # A stable sort by "not kept" moves the kept ids to the front in their order.
    order = jnp.argsort(~kept, axis=-1, stable=True)
    labels = jnp.take_along_axis(jnp.where(kept, best, 0), order, axis=-1)
    score = jnp.sum(jnp.where(valid, jnp.max(log_probs, axis=-1), 0.0), axis=-1)
    return Beams(labels[:, None], jnp.sum(kept, axis=-1, dtype=jnp.int32)[:, None], score[:, None])


def count_blanks(log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Returns how many valid patches of each row have the blank as best id: (B,)."""
    valid = jnp.arange(log_probs.shape[1], dtype=jnp.int32)[None] < lengths[:, None]
    blank = jnp.argmax(log_probs, axis=-1) == BLANK_ID
    return jnp.sum(valid & blank, axis=-1, dtype=jnp.int32)


def attention_greedy(
    decoder: Decoder,
    encoded: jax.Array,
    patches: jax.Array,
    max_labels: int,
    limits: jax.Array | None = None,
) -> Beams:
    """Takes the attention decoder's best next gloss again and again, until that is the end.

    Args:
        decoder: the attention decoder.
        encoded: (B, N, D) from the encoder.
        patches: (B,) valid patches.
        max_labels: U, after which a hypothesis is cut off.
        limits: (B,) numbers of glosses at which each row is cut off, at most U; U by default.

    Returns:
        Beams of one hypothesis. The score is the log probability of the glosses and of the end, or of
        the glosses alone if it is cut off.
    """
    Carry = tuple[Beams, jax.Array, jax.Array, DecoderCache]

    def step(carry: Carry) -> Carry:
        beams, last, ended, cache = carry
        logits, cache = decoder.step(last, cache)
        log_probs = jax.nn.log_softmax(logits)
        best = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        gained = jnp.where(ended, 0.0, jnp.max(log_probs, axis=-1))
        ended |= best == BLANK_ID
        added = jnp.where(ended, 0, best)
        at_end = (
            jnp.arange(max_labels, dtype=jnp.int32)[None, None] == beams.label_lengths[..., None]
        )
        labels = jnp.where(at_end & ~ended[..., None], added[..., None], beams.labels)
        lengths = beams.label_lengths + (~ended).astype(jnp.int32)
        ended |= lengths >= longest
        return Beams(labels, lengths, beams.scores + gained), added, ended, cache

    def goes_on(carry: Carry) -> jax.Array:
        return ~jnp.all(carry[2])

    one = (encoded.shape[0], 1)
    nothing = jnp.zeros(one, jnp.int32)
    longest = jnp.full(one, max_labels) if limits is None else limits[:, None]
    empty = Beams(jnp.zeros((*one, max_labels), jnp.int32), nothing, jnp.zeros(one))
    cache = decoder.start(encoded, patches, 1, max_labels)
    start = (empty, nothing, longest <= 0, cache)
    return jax.lax.while_loop(goes_on, step, start)[0]

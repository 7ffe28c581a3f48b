"""Greedy decoding: CTC's best id of every patch."""

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.prefix_beam import Beams


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

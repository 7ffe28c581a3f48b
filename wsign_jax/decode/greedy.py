"""Greedy CTC decoding: the best id of every patch, repeats collapsed, blanks removed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID


class Hypotheses(NamedTuple):
    """Decoded label sequences, right-padded with 0."""

    labels: jax.Array  # (B, N) int32
    label_lengths: jax.Array  # (B,) int32
    blanks: jax.Array  # (B,) int32 valid patches whose best id is the blank


def greedy(logits: jax.Array, patches: jax.Array) -> Hypotheses:
    """Decodes a batch.

    Args:
        logits: (B, N, V) CTC logits.
        patches: (B,) valid patches.
    """
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    valid = jnp.arange(best.shape[1], dtype=jnp.int32)[None] < patches[:, None]
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=BLANK_ID)[:, :-1]
    kept = valid & (best != BLANK_ID) & (best != before)
    # A stable sort by "not kept" moves the kept ids to the front in their order.
    order = jnp.argsort(~kept, axis=-1, stable=True)
    labels = jnp.take_along_axis(jnp.where(kept, best, 0), order, axis=-1)
    blanks = jnp.sum(valid & (best == BLANK_ID), axis=-1, dtype=jnp.int32)
    return Hypotheses(labels, jnp.sum(kept, axis=-1, dtype=jnp.int32), blanks)

"""The two halves of the hybrid loss, per sequence and in float32."""

import jax
import jax.numpy as jnp
import optax

from wsign_jax.data.vocab import BLANK_ID


def beyond(lengths: jax.Array, size: int) -> jax.Array:
    """(B,) lengths -> (B, size) float32, 1 where a position lies beyond the length."""
    positions = jnp.arange(size, dtype=jnp.int32)
    return (positions[None] >= lengths[:, None]).astype(jnp.float32)


def ctc_loss(
    logits: jax.Array, patches: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """Negative log-likelihood of the labels under CTC, divided by their count.

    Args:
        logits: (B, N, V).
        patches: (B,) valid patches.
        labels: (B, U) right-padded.
        label_lengths: (B,).

    Returns:
        (B,) float32; about 1e5 where the labels cannot be emitted (the loader sees to it that they
        can), meaningless in a masked row.
    """
    total = optax.ctc_loss(
        logits.astype(jnp.float32),
        beyond(patches, logits.shape[1]),
        labels,
        beyond(label_lengths, labels.shape[1]),
        blank_id=BLANK_ID,
    )
    return total / jnp.maximum(label_lengths, 1).astype(jnp.float32)


def decoder_inputs(labels: jax.Array) -> jax.Array:
    """(B, U) labels -> (B, U + 1) ids to feed: 0 for the start, then the labels."""
    return jnp.pad(labels, ((0, 0), (1, 0)))


def attention_loss(
    logits: jax.Array, labels: jax.Array, label_lengths: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of the attention decoder, the mean over a sentence's U + 1 targets.

    Targets are the labels and then 0 for the end, masked by length, never by id.

    Args:
        logits: (B, U + 1, V).
        labels: (B, U), zeros beyond the length.
        label_lengths: (B,).
        smoothing: label smoothing.

    Returns:
        (B,) float32 loss and (B,) int32 targets that the likeliest id hits.
    """
    targets = jnp.pad(labels, ((0, 0), (0, 1)))
    counted = 1.0 - beyond(label_lengths + 1, targets.shape[1])
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    likelihood = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    token_loss = -(1.0 - smoothing) * likelihood - smoothing * jnp.mean(log_probs, axis=-1)
    loss = jnp.sum(token_loss * counted, axis=-1) / jnp.sum(counted, axis=-1)
    hit = (jnp.argmax(logits, axis=-1) == targets) & (counted > 0)
    return loss, jnp.sum(hit, axis=-1, dtype=jnp.int32)


def mean_over_rows(values: jax.Array, real: jax.Array) -> jax.Array:
    """The mean of (B,) values over the rows that are (B,) real; 0 where none is."""
    kept = jnp.where(real, values, 0.0)
    return jnp.sum(kept) / jnp.maximum(jnp.sum(real, dtype=jnp.float32), 1.0)

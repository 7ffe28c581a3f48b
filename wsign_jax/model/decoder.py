"""Whisper's decoder over gloss ids; id 0, which is never a label, starts and ends every sentence.

Calling a `Decoder` takes whole sentences, as in training. `Decoder.start` and `Decoder.step` go gloss by
gloss for Q hypotheses of each sentence, as in a search. The results are the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from wsign_jax.model import attention
from wsign_jax.model.attention import KeysValues
from wsign_jax.model.layers import (
    Dropout,
    DropoutKeys,
    block_of,
    layer_norm,
    logits,
    run_blocks,
    scan_blocks,
    stack,
)
from wsign_jax.model.positions import sinusoids


class DecoderCache(NamedTuple):
    """The state that `Decoder.step` keeps between glosses: keys and values of all L blocks."""

    labels: KeysValues  # (L, B, Q, U, H, K) of the tokens so far, zeros beyond
    encoded: KeysValues  # (L, B, N, H, K) of the encoder's output, for all hypotheses
    patches: jax.Array  # (B,) valid patches in it
    position: jax.Array  # () int32 tokens so far

    def select(self, parents: jax.Array) -> "DecoderCache":
        """Returns the cache for hypotheses that continue the (B, Q) parents."""
        index = parents[None, :, :, None, None, None]
        labels = jax.tree.map(lambda x: jnp.take_along_axis(x, index, axis=2), self.labels)
        return self._replace(labels=labels)


class DecoderBlock(nnx.Module):
    """Pre-LayerNorm block: causal self-attention, cross-attention to the encoder, MLP."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.attention_norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.attention = attention.MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.cross_norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.cross_attention = attention.MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.mlp = attention.Mlp(width, hidden, dtype=dtype, rngs=rngs)
        self.dropout = Dropout(dropout)

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        cross_mask: jax.Array,
        *,
        dropout_keys: DropoutKeys | None = None,
    ) -> jax.Array:
        """Maps (B, U, D) to (B, U, D) with attention to (B, N, D) through a (B, 1, 1, N) mask."""
        x = x + self.dropout(self._attended(x), dropout_keys)
        crossed = self.cross_attention(self.cross_norm(x), encoded, cross_mask)
        x = x + self.dropout(crossed, dropout_keys)
        transformed = self.mlp(self.mlp_norm(x))
        return x + self.dropout(transformed, dropout_keys)

    def cross_weights(self, x: jax.Array, encoded: jax.Array, cross_mask: jax.Array) -> jax.Array:
        """Returns each label's attention to each patch, the mean over heads: (B, U, N) shares."""
        query = self.cross_norm(x + self._attended(x))
        keys, _ = self.cross_attention.keys_values(encoded)
        return jnp.mean(self.cross_attention.weights(query, keys, cross_mask), axis=1)

    def _attended(self, x: jax.Array) -> jax.Array:
        """Causal self-attention of (B, U, D)."""
        normed = self.attention_norm(x)
        return self.attention(normed, normed, jnp.asarray(attention.causal_mask(x.shape[1])))

    def step(
        self,
        x: jax.Array,
        labels: KeysValues,
        encoded: KeysValues,
        cross_mask: jax.Array,
        position: jax.Array,
    ) -> tuple[jax.Array, KeysValues]:
        """Maps (B, Q, D) states of the token at `position` to (B, Q, D), and stores keys and values."""
        normed = self.attention_norm(x)
        fresh = self.attention.keys_values(normed)
        keys, values = (
            jax.lax.dynamic_update_index_in_dim(old, new, position, axis=2)
            for old, new in zip(labels, fresh, strict=True)
        )
        rows = x.shape[0] * x.shape[1]  # every hypothesis attends to its own past
        attended = self.attention.attend(
            normed.reshape(rows, 1, -1),
            keys.reshape(rows, *keys.shape[2:]),
            values.reshape(rows, *values.shape[2:]),
            (jnp.arange(keys.shape[2], dtype=jnp.int32) <= position)[None, None, None],
        )
        x = x + attended.reshape(x.shape)
        # All hypotheses of a sentence attend to one encoded sequence, as if they were its queries.
        x = x + self.cross_attention.attend(self.cross_norm(x), *encoded, cross_mask)
        return x + self.mlp(self.mlp_norm(x)), (keys, values)


class Decoder(nnx.Module):
    """Gloss embeddings with Whisper's fixed positions, blocks, a final LayerNorm, and tied logits."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        layers: int,
        dropout: float,
        vocab_size: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.width = width
        self.embed = nnx.Embed(vocab_size, width, dtype=dtype, rngs=rngs)
        self.blocks = stack(
            lambda rngs: DecoderBlock(width, heads, hidden, dropout, dtype=dtype, rngs=rngs),
            layers,
            rngs,
        )
        self.norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.dropout = Dropout(dropout)

    def __call__(
        self,
        tokens: jax.Array,
        encoded: jax.Array,
        patches: jax.Array,
        *,
        dropout_keys: DropoutKeys | None = None,
    ) -> jax.Array:
        """Returns the logits of every next gloss.

        Args:
            tokens: (B, U) ids, 0 first, then the glosses so far.
            encoded: (B, N, D) from the encoder.
            patches: (B,) valid patches.
            dropout_keys: None for evaluation, without dropout.

        Returns:
            (B, U, V) float32; [:, u] is for the gloss after tokens[:, : u + 1], 0 for the end.
        """
        positions = jnp.asarray(sinusoids(tokens.shape[1], self.width))[None]
        x = self.dropout(self._embed(tokens, positions), dropout_keys)
        mask = _cross_mask(patches, encoded.shape[1])
        return self._logits(run_blocks(self.blocks, x, encoded, mask, dropout_keys=dropout_keys))

    def alignment(self, tokens: jax.Array, encoded: jax.Array, patches: jax.Array) -> jax.Array:
        """The last block's attention for every next gloss, (B, U, N) shares; arguments as in a call."""
        positions = jnp.asarray(sinusoids(tokens.shape[1], self.width))[None]
        x, mask = self._embed(tokens, positions), _cross_mask(patches, encoded.shape[1])
        _, taken = scan_blocks(lambda block, x, _: (block(x, encoded, mask), x), self.blocks, x)
        return block_of(self.blocks, -1).cross_weights(taken[-1], encoded, mask)

    def start(
        self, encoded: jax.Array, patches: jax.Array, hypotheses: int, tokens: int
    ) -> DecoderCache:
        """Returns an empty cache for (B, N, D) encoded patches and Q hypotheses of up to U tokens."""
        _, crossed = scan_blocks(
            lambda block, x, _: (x, block.cross_attention.keys_values(encoded)), self.blocks, None
        )
        layers, rows, _, *heads = crossed[0].shape
        empty = jnp.zeros((layers, rows, hypotheses, tokens, *heads), crossed[0].dtype)
        return DecoderCache((empty, empty), crossed, patches, jnp.int32(0))

    def step(self, tokens: jax.Array, cache: DecoderCache) -> tuple[jax.Array, DecoderCache]:
        """Takes the (B, Q) next tokens, 0 first; returns (B, Q, V) float32 logits and the cache."""
        encoded_length, room = cache.encoded[0].shape[2], cache.labels[0].shape[3]
        table = jnp.asarray(sinusoids(room, self.width))
        x = self._embed(tokens, table[cache.position][None, None])
        mask = _cross_mask(cache.patches, encoded_length)

        def step(
            block: DecoderBlock, x: jax.Array, kept: tuple[KeysValues, KeysValues]
        ) -> tuple[jax.Array, KeysValues]:
            return block.step(x, *kept, mask, cache.position)

        x, labels = scan_blocks(step, self.blocks, x, (cache.labels, cache.encoded))
        return self._logits(x), cache._replace(labels=labels, position=cache.position + 1)

    def _embed(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        # Tied embeddings have the scale of logits; the square root scales them like the positions.
        # Looked up in float32, in which the gradient of a gloss that comes often is summed too.
        x = self.embed.embedding[...][tokens].astype(self.embed.dtype) * self.width**0.5
        return x + positions.astype(x.dtype)

    def _logits(self, x: jax.Array) -> jax.Array:
        return logits(self.norm(x), self.embed.embedding[...].T)


def _cross_mask(patches: jax.Array, length: int) -> jax.Array:
    """The mask of (B,) valid patches: (B, 1, 1, N) bool."""
    return (jnp.arange(length, dtype=jnp.int32)[None] < patches[:, None])[:, None, None]

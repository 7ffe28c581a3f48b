"""Whisper's decoder over gloss ids; id 0, never a label, starts and ends every sentence."""

import jax
import jax.numpy as jnp
from flax import nnx

from wsign_jax.model import attention


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
        self.attention_norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.attention = attention.MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.cross_norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.cross_attention = attention.MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.mlp = attention.Mlp(width, hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        cross_mask: jax.Array,
        *,
        deterministic: bool,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """(B, U, D) label states -> (B, U, D), looking at (B, N, D) through a (B, 1, 1, N) mask."""
        normed = self.attention_norm(x)
        causal = jnp.asarray(attention.causal_mask(x.shape[1]))
        attended = self.attention(normed, normed, causal)
        x = x + self.dropout(attended, deterministic=deterministic, rngs=rngs)
        crossed = self.cross_attention(self.cross_norm(x), encoded, cross_mask)
        x = x + self.dropout(crossed, deterministic=deterministic, rngs=rngs)
        transformed = self.mlp(self.mlp_norm(x))
        return x + self.dropout(transformed, deterministic=deterministic, rngs=rngs)


class Decoder(nnx.Module):
    """Gloss embeddings with Whisper's fixed positions, blocks, a final LayerNorm, tied logits."""

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
        self.embed = nnx.Embed(
            vocab_size,
            width,
            dtype=dtype,
            embedding_init=nnx.initializers.normal(width**-0.5),
            rngs=rngs,
        )
        self.blocks = nnx.data(
            [
                DecoderBlock(width, heads, hidden, dropout, dtype=dtype, rngs=rngs)
                for _ in range(layers)
            ]
        )
        self.norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        tokens: jax.Array,
        encoded: jax.Array,
        patches: jax.Array,
        *,
        deterministic: bool,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """Logits of every next gloss.

        Args:
            tokens: (B, U) ids, 0 first, then the glosses so far.
            encoded: (B, N, D) from the encoder.
            patches: (B,) valid patches.
            deterministic: no dropout.
            rngs: with a `dropout` stream where `deterministic` is false.

        Returns:
            (B, U, V) float32; [:, u] is the gloss after tokens[:, : u + 1], 0 the end.
        """
        width = encoded.shape[-1]
        # Tied embeddings have the scale of logits; the square root brings them to that of positions.
        x = self.embed(tokens) * width**0.5
        x = x + jnp.asarray(attention.sinusoids(tokens.shape[1], width), x.dtype)[None]
        x = self.dropout(x, deterministic=deterministic, rngs=rngs)
        valid = jnp.arange(encoded.shape[1], dtype=jnp.int32)[None] < patches[:, None]
        for block in self.blocks:
            x = block(x, encoded, valid[:, None, None], deterministic=deterministic, rngs=rngs)
        # Float32 from here on, whatever the blocks compute in.
        states = self.norm(x).astype(jnp.float32)
        return states @ self.embed.embedding[...].astype(jnp.float32).T

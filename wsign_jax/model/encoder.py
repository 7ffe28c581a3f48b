"""Whisper's encoder over patches, with rotary or sinusoidal positions."""

import jax
import jax.numpy as jnp
from flax import nnx

from wsign_jax.model import attention


class EncoderBlock(nnx.Module):
    """Pre-LayerNorm block: x + attention(norm(x)), then x + mlp(norm(x))."""

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
        self.mlp_norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.mlp = attention.Mlp(width, hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None,
        *,
        deterministic: bool,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        """(B, N, D) -> (B, N, D) under a (B, 1, N, N) mask."""
        normed = self.attention_norm(x)
        attended = self.attention(normed, normed, mask, angles)
        x = x + self.dropout(attended, deterministic=deterministic, rngs=rngs)
        transformed = self.mlp(self.mlp_norm(x))
        return x + self.dropout(transformed, deterministic=deterministic, rngs=rngs)


class Encoder(nnx.Module):
    """A stack of blocks and a final LayerNorm."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        layers: int,
        dropout: float,
        positions: str,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.head_width = width // heads
        self.positions = positions
        self.blocks = nnx.data(
            [
                EncoderBlock(width, heads, hidden, dropout, dtype=dtype, rngs=rngs)
                for _ in range(layers)
            ]
        )
        self.norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        deterministic: bool,
        rngs: nnx.Rngs | None = None,
        remat: bool = False,
    ) -> jax.Array:
        """(B, N, D) embedded patches -> (B, N, D) encoded patches under a (B, 1, N, N) mask.

        With `remat` the backward pass computes a block again instead of keeping what is inside it.
        """
        length, width = x.shape[1:]
        angles = None
        if self.positions == "sinusoidal":
            x = x + jnp.asarray(attention.sinusoids(length, width), x.dtype)[None]
        else:  # 'auto' too, where no weights have settled it
            cos, sin = attention.rotary_angles(0, length, self.head_width)
            angles = jnp.asarray(cos), jnp.asarray(sin)

        def run(block: EncoderBlock, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
            return block(x, mask, angles, deterministic=deterministic, rngs=rngs)

        run_block = nnx.remat(run) if remat else run
        for block in self.blocks:
            x = run_block(block, x, rngs)
        return self.norm(x)

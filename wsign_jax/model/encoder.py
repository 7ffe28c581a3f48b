"""Whisper's encoder over patches, with rotary or sinusoidal positions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from wsign_jax.model import attention, positions
from wsign_jax.model.attention import KeysValues
from wsign_jax.model.layers import (
    Dropout,
    DropoutKeys,
    depth,
    layer_norm,
    run_blocks,
    scan_blocks,
    stack,
)


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
        self.attention_norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.attention = attention.MultiHeadAttention(width, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.mlp = attention.Mlp(width, hidden, dtype=dtype, rngs=rngs)
        self.dropout = Dropout(dropout)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None,
        *,
        dropout_keys: DropoutKeys | None = None,
    ) -> jax.Array:
        """Maps (B, N, D) to (B, N, D) under a (B, 1, N, N) mask."""
        normed = self.attention_norm(x)
        attended = self.attention(normed, normed, mask, angles)
        x = x + self.dropout(attended, dropout_keys)
        transformed = self.mlp(self.mlp_norm(x))
        return x + self.dropout(transformed, dropout_keys)

    def step(
        self,
        x: jax.Array,
        ring: KeysValues,
        places: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None,
    ) -> tuple[jax.Array, KeysValues]:
        """Encodes a stream's next chunk, and puts its keys and values into the ring.

        Args:
            x: (B, C, D) of the chunk.
            ring: keys and values, (B, R, H, K) each.
            places: (R,) the patch of the chunk that each slot of the ring takes; from C on, none.
            mask: (1, 1, 1, R) bool, true where the chunk may look.
            angles: rotary angles of the chunk.

        Returns:
            (B, C, D), and the ring.
        """
        normed = self.attention_norm(x)
        fresh = self.attention.keys_values(normed, angles)
        # Not by a scatter, which jax2onnx converts wrongly within a loop.
        chunk = x.shape[1]
        is_new, source = (places < chunk)[None, :, None, None], jnp.minimum(places, chunk - 1)
        keys, values = (
            jnp.where(is_new, jnp.take(new, source, axis=1, mode="clip"), old)
            for old, new in zip(ring, fresh, strict=True)
        )
        x = x + self.attention.attend(normed, keys, values, mask, angles)
        return x + self.mlp(self.mlp_norm(x)), (keys, values)


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
        self.blocks = stack(
            lambda rngs: EncoderBlock(width, heads, hidden, dropout, dtype=dtype, rngs=rngs),
            layers,
            rngs,
        )
        self.norm = layer_norm(width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        dropout_keys: DropoutKeys | None = None,
        remat: bool = False,
        tables: tuple[jax.Array, ...] | None = None,
    ) -> jax.Array:
        """Maps (B, N, D) embedded patches to (B, N, D) encoded ones under a (B, 1, N, N) mask.

        With `remat` the backward pass computes a block again instead of keeping its inner values.
        `tables` comes from `positions.position_tables`; it must be given if N is symbolic.
        """
        length, width = x.shape[1:]
        if tables is None:
            made = positions.position_tables(self.positions, length, width, self.head_width)
            tables = tuple(map(jnp.asarray, made))
        angles = None
        if self.positions == positions.SINUSOIDAL:
            x = x + tables[0].astype(x.dtype)[None]
        else:  # 'auto' too, if no weights have settled it
            cos, sin = tables
            angles = cos, sin
        x = run_blocks(self.blocks, x, mask, angles, dropout_keys=dropout_keys, remat=remat)
        return self.norm(x)

    def start(self, rows: int, room: int) -> KeysValues:
        """Returns the blocks' empty rings of keys and values, (L, B, R, H, K) each."""
        own = self.blocks.attention
        shape = (depth(self.blocks), rows, room, own.heads, self.head_width)
        return jnp.zeros(shape, own.key.dtype), jnp.zeros(shape, own.key.dtype)

    def step(
        self,
        x: jax.Array,
        first: jax.Array,
        patches: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None,
        rings: KeysValues,
        apart: Sequence[Any] = (),
    ) -> tuple[jax.Array, KeysValues]:
        """Encodes a stream's next chunk, as a call with the whole stream under `attention_mask` does.

        Args:
            x: (B, C, D) embedded patches.
            first: () position of the first patch since the stream began; patches at negative
                positions are ignored.
            patches: () length of the stream, or any number beyond the chunk while the stream goes on.
            angles: rotary angles of the chunk, from the host; None with sinusoidal positions.
            rings: from `start` or the previous step, with room for L + C patches.
            apart: as in `scan_blocks`.

        Returns:
            (B, C, D) encoded patches, and the rings.
        """
        chunk, width = x.shape[1:]
        room = rings[0].shape[2]
        if self.positions == positions.SINUSOIDAL:
            longest = positions.MAX_SINUSOIDAL_PATCHES + chunk
            table = jnp.asarray(positions.sinusoids(longest, width), x.dtype)
            x = x + jax.lax.dynamic_slice_in_dim(table, first, chunk)[None]
        held = attention.ring_positions(first, chunk, room)
        mask = ((held >= 0) & (held < patches))[None, None, None]
        places = (jnp.arange(room, dtype=jnp.int32) - first) % room

        def step(
            block: EncoderBlock, x: jax.Array, ring: KeysValues
        ) -> tuple[jax.Array, KeysValues]:
            return block.step(x, ring, places, mask, angles)

        x, rings = scan_blocks(step, self.blocks, x, rings, apart=apart)
        return self.norm(x), rings

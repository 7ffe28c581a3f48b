"""Attention as in Whisper (without a key bias), its one mask function, and rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from wsign_jax.model.layers import Linear, gelu

# A chunk size that no sequence reaches: everything is one chunk, attention is full.
FULL_ATTENTION = 2**30

KeysValues = tuple[jax.Array, jax.Array]

_MASKED = -1e30  # finite, so that a row without any key (a masked row of a batch) gives no NaN


def attention_mask(
    patches: jax.Array,
    length: int,
    chunk: jax.Array | np.int32 | int,
    left_context: jax.Array | np.int32 | int,
) -> jax.Array:
    """Returns which patch sees which: a query in chunk c sees the valid keys in [cC - L, (c + 1)C).

    Args:
        patches: (B,) valid patches of each row.
        length: N.
        chunk: C in patches, a traced value or a number; `FULL_ATTENTION` for all.
        left_context: L in patches before the query's chunk.

    Returns:
        (B, 1, N, N) bool, [batch, head, query, key].
    """
    position = jnp.arange(length, dtype=jnp.int32)
    key = position[None, :]
    start = (position // chunk * chunk)[:, None]
    visible = (key >= start - left_context) & (key < start + chunk)
    valid = key < patches[:, None]
    return (visible[None] & valid[:, None])[:, None]


def ring_positions(first: jax.Array, chunk: int, room: int) -> jax.Array:
    """Returns the patches whose keys a ring buffer holds after a chunk is put in; p is in slot p mod R.

    The ring has room for the left context and a chunk. So it holds exactly what `attention_mask` shows
    to the chunk's queries, apart from positions that a stream does not have. R is L + C.

    Returns:
        (R,) int32 position in every slot: the last R positions up to the chunk's last.
    """
    last = first + chunk - 1
    return last - (last - jnp.arange(room, dtype=jnp.int32)) % room


def causal_mask(length: int) -> np.ndarray:
    """The mask in which label u sees labels up to u: (1, 1, U, U) bool."""
    return np.tril(np.ones((length, length), bool))[None, None]


def rotate(x: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates (B, N, H, K) queries or keys by their positions' cosine and sine, (N, K / 2) each."""
    cos, sin = (a[:, None].astype(x.dtype) for a in angles)
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = cos[None], sin[None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class MultiHeadAttention(nnx.Module):
    """Scaled dot-product attention of D in H heads; all linear layers but the key's have a bias."""

    def __init__(self, width: int, heads: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.heads = heads
        self.query = Linear(width, width, dtype=dtype, rngs=rngs)
        self.key = Linear(width, width, use_bias=False, dtype=dtype, rngs=rngs)
        self.value = Linear(width, width, dtype=dtype, rngs=rngs)
        self.out = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Attends from x to context.

        Args:
            x: (B, Q, D) queries.
            context: (B, N, D) keys and values; x itself for self-attention.
            mask: (B or 1, 1, Q, N) bool, true where a query may look.
            angles: rotary angles of x and context, which share their positions; or None.

        Returns:
            (B, Q, D).
        """
        return self.attend(x, *self.keys_values(context, angles), mask, angles)

    def keys_values(
        self, context: jax.Array, angles: tuple[jax.Array, jax.Array] | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns keys and values of (B, N, D) for `attend`, (B, N, H, K) each; a cache keeps these."""
        key, value = self._split(self.key(context)), self._split(self.value(context))
        return (key if angles is None else rotate(key, angles)), value

    def attend(
        self,
        x: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Attends from (B, Q, D), at the positions of `angles`, to keys and values -> (B, Q, D)."""
        weights = self.weights(x, key, mask, angles).astype(value.dtype)
        mixed = jnp.einsum("bhqn,bhnk->bhqk", weights, _swap_heads(value))
        return self.out(_swap_heads(mixed).reshape(x.shape))

    def weights(
        self,
        x: jax.Array,
        key: jax.Array,
        mask: jax.Array,
        angles: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Returns the share of each key in what `attend` returns for a query: (B, H, Q, N) float32."""
        query = self._split(self.query(x))
        if angles is not None:
            query = rotate(query, angles)
        scale = query.shape[-1] ** -0.5
        query, key = _swap_heads(query * scale), _swap_heads(key)
        scores = jnp.einsum("bhqk,bhnk->bhqn", query, key).astype(jnp.float32)
        return jax.nn.softmax(jnp.where(mask, scores, _MASKED), axis=-1)

    def _split(self, x: jax.Array) -> jax.Array:
        """Splits (B, N, D) into heads: (B, N, H, K)."""
        return x.reshape(*x.shape[:2], self.heads, -1)


def _swap_heads(x: jax.Array) -> jax.Array:
    """Swaps two axes: (B, N, H, K) -> (B, H, N, K), or back.

    A product of (B, N, H, K) would work too. But XLA on a CPU then transposes the keys to (B, H, K, N)
    number by number, and attention with its gradient takes a quarter longer.
    """
    return jnp.swapaxes(x, 1, 2)


class Mlp(nnx.Module):
    """Linear D -> M, exact GELU, Linear M -> D."""

    def __init__(self, width: int, hidden: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.up = Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, D) to (B, N, D)."""
        return self.down(gelu(self.up(x)))

"""The small layers that every part is made of, where they differ from Flax's own."""

import jax
import jax.numpy as jnp
from flax import nnx


class Linear(nnx.Linear):
    """`nnx.Linear`, which takes (..., D) as one matrix of rows.

    Nothing else differs. A weight's gradient is then one product of two matrices; over (B, N, D) XLA on
    a CPU first makes a transposed copy of what came back: 7 % of a base-size training step.
    """

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        """(..., D) -> (..., M)."""
        rows = super().__call__(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], rows.shape[-1])


def gelu(x: jax.Array) -> jax.Array:
    """Exact GELU, x times the normal distribution's share below x (Hendrycks & Gimpel 2016,
    arXiv:1606.08415); the same shape.

    In float32 whatever x is, since 1 + erf takes the difference of what is nearly the same where x is
    negative. `jax.nn.gelu` calls erfc, a far larger program: a base-size training step took 2 % longer
    and a tenth more time to compile.
    """
    precise = x.astype(jnp.float32)
    share = 0.5 + 0.5 * jax.lax.erf(precise * 0.5**0.5)
    return (precise * share).astype(x.dtype)


def layer_norm(width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Whisper's LayerNorm: epsilon 1e-5, where Flax's default is 1e-6."""
    return nnx.LayerNorm(width, epsilon=1e-5, dtype=dtype, rngs=rngs)

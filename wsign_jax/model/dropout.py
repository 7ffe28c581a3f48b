"""Dropout that draws little: a 32-bit random number decides for two values, not for one.

Drawing is what dropout costs: on a CPU it was 13 % of a base-size training step with a number for every
value.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from wsign_jax.model.keys import Keys

_LEVELS = 2**16  # a rate is rounded to a multiple of 1 / 65536


class Dropout(nnx.Module):
    """Sets values to 0 with a probability, and scales the others up so that the mean stays.

    Srivastava et al. 2014, JMLR 15.
    """

    def __init__(self, rate: float, shared_axes: Sequence[int] = ()):
        """Of a rate.

        Args:
            rate: the probability.
            shared_axes: along which all values share one draw.
        """
        self.dropped = min(round(rate * _LEVELS), _LEVELS - 1)  # of the levels
        self.shared_axes = tuple(shared_axes)

    def __call__(self, x: jax.Array, keys: Keys | None) -> jax.Array:
        """The same shape; x itself where there are no keys, as in evaluation."""
        if keys is None or self.dropped == 0:
            return x
        shape = [1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape)]
        kept = _draw(keys.next(), shape) >= self.dropped
        scale = jnp.asarray(_LEVELS / (_LEVELS - self.dropped), x.dtype)
        return jnp.where(kept, x * scale, jnp.zeros((), x.dtype))


def _draw(key: jax.Array, shape: list[int]) -> jax.Array:
    """Uniform uint16 of a shape."""
    *rows, width = shape
    words = jax.random.bits(key, (*rows, -(-width // 2)), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16)
    return halves.reshape(*rows, -1)[..., :width]

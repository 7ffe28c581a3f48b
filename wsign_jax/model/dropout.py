"""Dropout that draws little: a 32-bit random number decides for two values, not for one.

Drawing is what dropout costs: on a CPU it was 13 % of a base-size training step with a number for every
value.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

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

    def __call__(self, x: jax.Array, keys: "DropoutKeys | None") -> jax.Array:
        """The same shape; x itself where there are no keys, as in evaluation."""
        if keys is None or self.dropped == 0:
            return x
        shape = [1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape)]
        kept = _draw(keys.next(), shape) >= self.dropped
        scale = jnp.asarray(_LEVELS / (_LEVELS - self.dropped), x.dtype)
        return jnp.where(kept, x * scale, jnp.zeros((), x.dtype))


class DropoutKeys:
    """A key for every dropout that a call of the network meets, from one key for all of them.

    They are counted while the network is traced; `nnx.Rngs` counts in an array, which makes tracing a
    training step a fifth slower.
    """

    def __init__(self, key: jax.Array):
        """Of the step's key."""
        self._key = key
        self._given = 0

    def next(self) -> jax.Array:
        """A key that was not given before."""
        self._given += 1
        return jax.random.fold_in(self._key, self._given)


def _draw(key: jax.Array, shape: list[int]) -> jax.Array:
    """Uniform uint16 of a shape."""
    *rows, width = shape
    words = jax.random.bits(key, (*rows, -(-width // 2)), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16)
    return halves.reshape(*rows, -1)[..., :width]

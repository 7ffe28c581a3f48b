"""The random keys that fresh parameters are drawn with."""

import jax


class Keys:
    """Gives a key at every call, those that an `nnx.Rngs` of one stream gives.

    It counts in Python. `nnx.Rngs` counts in an array, which made up two thirds of the time to trace a
    new network.
    """

    def __init__(self, key: jax.Array):
        """From a key."""
        self._key = key
        self._given = 0

    def params(self) -> jax.Array:
        """A key that was not given before; what Flax's layers call an `nnx.Rngs` by."""
        key = jax.random.fold_in(self._key, self._given)
        self._given += 1
        return key

"""Random keys, one after the other, from a single one."""

import jax


class Keys:
    """Gives a key at every call, those that an `nnx.Rngs` of one stream gives.

    It counts in Python. `nnx.Rngs` counts in an array, which made up a sixth of the time to trace a
    training step and two thirds of that to trace a new network.
    """

    def __init__(self, key: jax.Array):
        """From a key."""
        self._key = key
        self._given = 0

    def next(self) -> jax.Array:
        """A key that was not given before."""
        key = jax.random.fold_in(self._key, self._given)
        self._given += 1
        return key

    params = next  # what Flax's layers call an `nnx.Rngs` by

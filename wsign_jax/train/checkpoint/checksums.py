"""Checksums, by which a checkpoint is checked: numbers that change with any bit of the data."""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def checksums_of_arrays(items: dict[str, Any]) -> dict[str, int]:
    """The checksum of every item, each a tree of arrays."""
    return {
        # One after another: sums over many devices at once can block simulated devices.
        name: zlib.crc32(
            np.array([int(_checksum_of_array(x)) for x in jax.tree.leaves(item)]).tobytes()
        )
        for name, item in items.items()
    }


def checksum_of_json(value: Any) -> int:
    """The checksum of a value that JSON can hold, whatever the order of its keys."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


@jax.jit
def _checksum_of_array(x: jax.Array) -> jax.Array:
    """The sum of an array's 32-bit words, each combined with its place and then mixed.

    Any changed word changes the sum. The mixing is MurmurHash3's finalizer, which is one-to-one
    (Appleby, public domain). Sums of integers do not depend on their order, nor on how the array is
    spread over devices.
    """
    words = jax.lax.bitcast_convert_type(x, jnp.uint32)
    stride = 1
    for axis, size in reversed(list(enumerate(x.shape))):
        place = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride)
        words = words + place * jnp.uint32(0x9E3779B9)
        stride = stride * size % 2**32
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return jnp.sum(words ^ (words >> 16), dtype=jnp.uint32)

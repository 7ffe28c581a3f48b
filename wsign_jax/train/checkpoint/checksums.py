"""Checksums, by which a checkpoint is checked: numbers that change with any bit of the data."""

import json
import zlib
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = TypeVar("Array", jax.Array, np.ndarray)


def checksums_of_arrays(items: dict[str, Any]) -> dict[str, int]:
    """The checksum of every item, each a tree of arrays."""
    return {
        # One after another: sums over many devices at once can block simulated devices.
        name: zlib.crc32(np.array([_checksum_of_array(x) for x in jax.tree.leaves(item)]).tobytes())
        for name, item in items.items()
    }


def checksum_of_json(value: Any) -> int:
    """The checksum of a value that JSON can hold, whatever the order of its keys."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _checksum_of_array(x: jax.Array | np.ndarray) -> int:
    """The sum of an array's 32-bit words, each combined with its place and then mixed.

    Any changed word changes the sum. Sums of integers do not depend on their order, nor on how the
    array is spread over devices.
    """
    if isinstance(x, jax.Array) and not _is_on_host(x):
        return int(_sum_on_devices(x))
    # Nothing is compiled: that took a fifth of the time to a recognizer's first transcript.
    words = np.asarray(x).view(np.uint32).ravel()
    return int(_mix(words, np.arange(words.size, dtype=np.uint32)).sum(dtype=np.uint32))


def _is_on_host(x: jax.Array) -> bool:
    return x.is_fully_addressable and all(one.platform == "cpu" for one in x.devices())


@jax.jit
def _sum_on_devices(x: jax.Array) -> jax.Array:
    place = jnp.zeros(x.shape, jnp.uint32)
    stride = 1
    for axis, size in reversed(list(enumerate(x.shape))):
        place += jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride)
        stride = stride * size % 2**32
    words = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jnp.sum(_mix(words, place), dtype=jnp.uint32)


def _mix(words: Array, place: Array) -> Array:
    """Mixes words by MurmurHash3's finalizer, which is one-to-one (Appleby, public domain)."""
    words = words + place * np.uint32(0x9E3779B9)
    words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
    return words ^ (words >> 16)

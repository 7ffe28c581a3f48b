"""The program of an exported file that streams: one chunk of keypoints and the state in and out.

All sizes are fixed. The state is a tuple of arrays, in the order of `STATE`; at the beginning all are
zeros. It imports nothing of the network.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints
from wsign_jax.model import positions
from wsign_jax.model.chunk import Chunk
from wsign_jax.recognize.backend import RecognizerSettings

STATE = (
    *("hand_size", "hand_frames", "positions_before", "hands_before", "has_before"),
    *("patches_before", "keys", "values"),
)
_LARGEST = 2**31  # bytes of a state; whisper_medium's in the widest window takes 1.2 GB
_RANGES = {"chunk": (1, 6000), "left_context": (0, 6000), "layers": (1, 1000), "taps": (1, 1000)}


@dataclasses.dataclass(frozen=True)
class StreamSizes:
    """The sizes of an exported stream."""

    chunk: int  # C, in patches
    left_context: int  # L, in patches
    layers: int  # of the encoder
    taps: int  # patches that the frontend's convolution covers

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> "StreamSizes":
        """Reads sizes from a JSON object.

        Raises:
            WSignError: a field is missing, unknown, of another type or out of range.
        """
        found = {}
        for name, (low, high) in _RANGES.items():
            holds, allowed = range(low, high + 1).__contains__, f"a whole number, {low} to {high}"
            found[name] = files.field(content, name, where, int, holds, allowed)
        for name in content:
            if name not in found:
                raise WSignError(f"{where}: {name!r} is not one of its fields; leave it out")
        return cls(**found)


def state_shapes(
    settings: RecognizerSettings, sizes: StreamSizes
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of a state's arrays.

    Raises:
        WSignError: they would take more memory than any stream needs.
    """
    hands, room = len(joints.HANDS), sizes.left_context + sizes.chunk
    heads = settings.width // settings.head_width
    ring = (sizes.layers, 1, room, heads, settings.head_width), np.float32
    found = tuple(
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (
            ((1, hands), np.float32),
            ((1, hands), np.int32),
            ((1, joints.NUM_JOINTS, 3), np.float32),
            ((1, hands), np.float32),
            ((1,), np.bool_),
            ((1, sizes.taps - 1, settings.width), np.float32),
            *(ring, ring),
        )
    )
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in found)
    if size > _LARGEST:
        raise WSignError(f"the state of its stream would take {size:,} bytes, over {_LARGEST:,}")
    return found


def stream_arguments(
    settings: RecognizerSettings,
    sizes: StreamSizes,
    parameters: Mapping[str, jax.ShapeDtypeStruct],
) -> tuple[Any, ...]:
    """The arguments of the program, as shapes: parameters, state, and the fields of a `Chunk`."""
    frames = sizes.chunk * settings.patch_size + 1
    shape, row, number = jax.ShapeDtypeStruct, (1,), jax.ShapeDtypeStruct((), np.int32)
    angles = positions.stream_angles(settings.positions, 0, sizes.chunk, settings.head_width)
    chunk = Chunk(
        positions=shape((1, frames, joints.NUM_JOINTS, 3), np.float32),
        confidence=shape((1, frames, len(joints.HANDS)), np.float32),
        begin=shape(row, np.int32),
        end=shape(row, np.int32),
        first=number,
        patches=number,
        angles=jax.tree.map(lambda table: shape(table.shape, table.dtype), angles or ()),
    )
    return dict(parameters), state_shapes(settings, sizes), tuple(chunk)


def stream_results(
    settings: RecognizerSettings, sizes: StreamSizes, vocab_size: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The results of the program, as shapes: log posteriors (C, V), and the arrays of the state."""
    log_probs = jax.ShapeDtypeStruct((sizes.chunk, vocab_size), np.float32)
    return log_probs, *state_shapes(settings, sizes)


def plain(chunk: Chunk) -> tuple[Any, ...]:
    """A chunk as the program takes it: a tuple, with an empty one for no angles."""
    return tuple(chunk._replace(angles=chunk.angles or ()))

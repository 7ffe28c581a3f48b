"""A stream's next chunk of frames, as the network's step takes it. It imports nothing of the network."""

from typing import Any, NamedTuple


class Chunk(NamedTuple):
    """A stream's next C patches and their place in the stream; arrays on the host or on a device."""

    positions: Any  # (B, C * P + 1, J, 3) the next frames, and the one after them
    confidence: Any  # (B, C * P + 1, 2)
    begin: Any  # (B,) int32 the first frame that belongs to the stream, a multiple of P
    end: Any  # (B,) int32 the frame after the last that does, and has come
    # () int32 position of the first patch that comes out, `look_ahead` before the first that comes in.
    first: Any
    patches: Any  # () int32 length of the stream; any number beyond the chunk while it goes on
    angles: Any  # rotary angles of the chunk, `positions.stream_angles` of `first`

"""The core of a stream: its state, and the step from one chunk of frames to the model's outputs."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.calibration import Calibration
from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.decode.streaming import StreamDecoder
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames, no_frames
from wsign_jax.model import positions
from wsign_jax.model.chunk import Chunk

GOES_ON = 2**30  # patches of a stream whose end is not known yet


class StreamState(NamedTuple):
    """All that a stream carries from push to push; its size is the same after an hour."""

    cache: Any  # the model's
    decoding: Any  # the decoder's
    # C * P frames of the chunk that is being filled, and the first of the next one: velocities at the
    # chunk's end need it.
    frames: Frames
    begin: int  # the first that is a frame of the stream; above 0 only at its beginning
    filled: int  # how many are filled, the ones before `begin` included
    first: int  # position of the first patch that comes out for the chunk; see `Chunk`
    skipped: int  # patches before it that were not encoded, since no hand was seen
    total: int  # frames of the stream so far
    # Number of the last frame that shows a hand, the next chunk's left out; far below 0 if none did.
    last_seen: int
    quiet: int  # patches encoded since then


class ChunkOutputs(NamedTuple):
    """The outputs of a step for its C patches; only a run gives states and logits."""

    states: Any  # (C, D)
    logits: Any  # (C, V) float32 of CTC
    log_probs: Any  # (C, V)


@dataclasses.dataclass(frozen=True)
class StreamModel:
    """A model that streams under one window, whether it comes from a run or from an exported file."""

    vocabulary: Vocabulary
    patch_size: int  # frames
    look_ahead: int  # of the frontend, in patches
    positions: str  # one of `positions.POSITIONS`
    head_width: int  # K
    chunk: int  # C, in patches
    left_context: int  # L, in patches
    layers: int  # of the encoder
    taps: int  # patches that the frontend's convolution covers
    calibration: Calibration
    cache: Any  # before the first chunk; arrays on one device
    step: Callable[
        [Any, Chunk], tuple[ChunkOutputs, Any]
    ]  # takes a cache, and returns the next one

    @property
    def reach(self) -> int:
        """Patches after which nothing is left in the cache of what came before them."""
        return self.layers * (self.left_context + self.chunk) + self.taps + self.chunk


def init_stream(model: StreamModel, decoder: StreamDecoder) -> StreamState:
    """The state of a stream before its first frame.

    The frontend may look A patches ahead, so a chunk of C patches comes out when A more have come in.
    Chunks that come out lie at multiples of C, as in `attention_mask`. So the first one lies A patches,
    rounded up to whole chunks, before the stream; the frames before the stream are empty.
    """
    first = -(-model.look_ahead // model.chunk) * model.chunk
    lead = (first - model.look_ahead) * model.patch_size
    length = model.chunk * model.patch_size
    return StreamState(
        cache=model.cache,
        decoding=decoder.start(),
        frames=no_frames(length + 1),
        begin=lead,
        filled=lead,
        first=-first,
        skipped=0,
        total=0,
        last_seen=-NO_HANDS_FRAMES - length,
        quiet=0,
    )


def next_chunk(model: StreamModel, state: StreamState, patches: int = GOES_ON) -> Chunk:
    """Makes the step's input from a state, whose frames are filled except at the end of the stream.

    A stream that has ended has so many `patches`, without the skipped ones.
    """
    return Chunk(
        positions=state.frames.positions[None],
        confidence=state.frames.confidence[None],
        begin=np.array([state.begin], np.int32),
        end=np.array([state.filled], np.int32),
        first=np.int32(state.first),
        patches=np.int32(patches),
        angles=positions.stream_angles(model.positions, state.first, model.chunk, model.head_width),
    )


def fill_chunk(state: StreamState, frames: Frames) -> StreamState:
    """Puts the next n frames into the chunk, which must have room for them."""
    count = len(frames.confidence)
    end = state.filled + count
    filled = Frames(*(array.copy() for array in state.frames))
    for array, new in zip(filled, frames, strict=True):
        array[state.filled : end] = new
    length = len(filled.confidence) - 1
    (seen,) = np.nonzero(frames.confidence[: length - state.filled].any(axis=1))
    return state._replace(
        frames=filled,
        filled=end,
        total=state.total + count,
        last_seen=state.total + int(seen[-1]) if len(seen) else state.last_seen,
    )


def begin_next_chunk(state: StreamState) -> StreamState:
    """Begins the next chunk with the frame after the last one, if that has come."""
    frames = no_frames(len(state.frames.confidence))  # new ones: the step may still read the old
    rest = int(state.filled == len(frames.confidence))
    for array, old in zip(frames, state.frames, strict=True):
        array[:rest] = old[len(old) - rest :]
    seen = frames.confidence[0].any()
    return state._replace(
        frames=frames,
        begin=0,
        filled=rest,
        last_seen=state.total - 1 if seen else state.last_seen,
    )


def drop_nan_hands(features: np.ndarray) -> tuple[Frames, int]:
    """Takes hands of (t, 42, 7) features as absent if they have NaN or other garbage.

    Returns:
        The frames, and the number of those that had such a hand.
    """
    good = joints.plausible_hands(features)
    if not good.all():
        features = np.where(np.repeat(good, joints.JOINTS_PER_HAND, 1)[..., None], features, 0.0)
    return Frames(*joints.positions_and_confidence(features)), int((~good).any(axis=1).sum())

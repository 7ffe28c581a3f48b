"""The core of a stream: its state, and the step from one chunk of frames to the model's outputs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.decode.streaming import StreamDecoder
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames, no_frames
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Chunk, Params, StreamCache

GOES_ON = 2**30  # patches of a stream whose end is not known yet


class StreamState(NamedTuple):
    """All that a stream carries from push to push; its size is the same after an hour."""

    cache: StreamCache  # the model's
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
    """The outputs of a step for its C patches."""

    states: jax.Array  # (C, D)
    logits: jax.Array  # (C, V) float32 of CTC
    log_probs: jax.Array  # (C, V)


Step = Callable[[Params, StreamCache, Chunk], tuple[ChunkOutputs, StreamCache]]


@functools.lru_cache(maxsize=8)
def make_step(graph: nnx.GraphDef) -> Step:
    """Makes the jitted step for a chunk; it compiles once for every chunk size and left context."""

    def step(params: Params, cache: StreamCache, chunk: Chunk) -> tuple[ChunkOutputs, StreamCache]:
        model = whisper_sign.bind_params(graph, params)
        states, cache = model.stream_step(chunk, cache)
        logits = model.ctc_logits(states)
        return ChunkOutputs(states[0], logits[0], jax.nn.log_softmax(logits)[0]), cache

    return jax.jit(step)


def init_stream(
    trained: Trained, decoder: StreamDecoder, chunk: int, left_context: int
) -> StreamState:
    """The state of a stream before its first frame.

    The frontend may look A patches ahead, so a chunk of C patches comes out when A more have come in.
    Chunks that come out lie at multiples of C, as in `attention_mask`. So the first one lies A patches,
    rounded up to whole chunks, before the stream; the frames before the stream are empty.
    """
    frontend = trained.config.model.frontend
    model = whisper_sign.bind_params(trained.network.graph, trained.params)
    first = -(-frontend.look_ahead // chunk) * chunk
    lead = (first - frontend.look_ahead) * frontend.patch_size
    length = chunk * frontend.patch_size
    cache = model.stream_start(1, chunk, left_context)
    return StreamState(
        # Placed as a step's result is; otherwise the step would compile again.
        cache=jax.device_put(cache, jax.local_devices()[0]),
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


def next_chunk(model: ConfigDict, state: StreamState, chunk: int, patches: int = GOES_ON) -> Chunk:
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
        angles=whisper_sign.stream_angles(model, state.first, chunk),
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

"""The core of a stream: its state, and the step from one chunk of frames to the model's outputs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.data import normalize
from wsign_jax.data.normalize import NormalizerState
from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.decode.streaming import Decoder
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Chunk, Params, StreamCache

GOES_ON = 2**30  # patches of a stream whose end is not known yet


class StreamState(NamedTuple):
    """All that a stream carries from push to push; its size is the same after an hour."""

    cache: StreamCache  # the model's
    decoding: Any  # the decoder's
    normalizer: NormalizerState
    frames: np.ndarray  # (C * P, J, F) float32, normalized, of the chunk that is being filled
    begin: int  # the first that is a frame of the stream; above 0 only at its beginning
    filled: int  # how many are filled, the ones before `begin` included
    first: int  # position of the first patch that comes out for the chunk; see `Chunk`
    skipped: int  # patches before it that were not encoded, since no hand was seen
    total: int  # frames of the stream so far
    last_seen: int  # number of the last frame that shows a hand; far below 0 if none did
    quiet: int  # patches encoded since then


class Outputs(NamedTuple):
    """The outputs of a step for its C patches."""

    states: jax.Array  # (C, D)
    logits: jax.Array  # (C, V) float32 of CTC
    log_probs: jax.Array  # (C, V)


Step = Callable[[Params, StreamCache, Chunk], tuple[Outputs, StreamCache]]


@functools.lru_cache(maxsize=8)
def make_step(graph: nnx.GraphDef) -> Step:
    """Makes the jitted step for a chunk; it compiles once for every chunk size and left context."""

    def step(params: Params, cache: StreamCache, chunk: Chunk) -> tuple[Outputs, StreamCache]:
        model = whisper_sign.bind(graph, params)
        states, cache = model.stream_step(chunk, cache)
        logits = model.ctc_logits(states)
        return Outputs(states[0], logits[0], jax.nn.log_softmax(logits)[0]), cache

    return jax.jit(step)


def init_stream(trained: Trained, decoder: Decoder, chunk: int, left_context: int) -> StreamState:
    """The state of a stream before its first frame.

    The frontend may look A patches ahead, so a chunk of C patches comes out when A more have come in.
    Chunks that come out lie at multiples of C, as in `attention_mask`. So the first one lies A patches,
    rounded up to whole chunks, before the stream; the frames before the stream are empty.
    """
    frontend = trained.config.model.frontend
    model = whisper_sign.bind(trained.network.graph, trained.params)
    first = -(-frontend.look_ahead // chunk) * chunk
    lead = (first - frontend.look_ahead) * frontend.patch_size
    shape = (chunk * frontend.patch_size, joints.NUM_JOINTS, joints.NUM_FEATURES)
    cache = model.stream_start(1, chunk, left_context)
    return StreamState(
        # Placed as a step's result is; otherwise the step would compile again.
        cache=jax.device_put(cache, jax.local_devices()[0]),
        decoding=decoder.start(),
        normalizer=normalize.INITIAL_STATE,
        frames=np.zeros(shape, np.float32),
        begin=lead,
        filled=lead,
        first=-first,
        skipped=0,
        total=0,
        last_seen=-NO_HANDS_FRAMES - shape[0],
        quiet=0,
    )


def next_chunk(model: ConfigDict, state: StreamState, chunk: int, patches: int = GOES_ON) -> Chunk:
    """Makes the step's input from a state.

    Args:
        model: `config.model`.
        state: the state; its frames are filled, except at the end of the stream.
        chunk: C.
        patches: how many the stream has, without the skipped ones, if it has ended.
    """
    return Chunk(
        features=state.frames[None],
        begin=np.array([state.begin], np.int32),
        end=np.array([state.filled], np.int32),
        first=np.int32(state.first),
        patches=np.int32(patches),
        angles=whisper_sign.stream_angles(model, state.first, chunk),
    )


def fill(state: StreamState, features: np.ndarray, wrist_place: bool) -> StreamState:
    """Puts (n, 42, 7) features as on disk into the chunk, which must have room for them."""
    end = state.filled + len(features)
    frames = state.frames.copy()
    frames[state.filled : end], normalizer = normalize.normalize(
        features, state.normalizer, wrist_place
    )
    (seen,) = np.nonzero(joints.seen_hands(features).any(axis=1))
    return state._replace(
        frames=frames,
        filled=end,
        normalizer=normalizer,
        total=state.total + len(features),
        last_seen=state.total + int(seen[-1]) if len(seen) else state.last_seen,
    )


def without_nan(features: np.ndarray) -> tuple[np.ndarray, int]:
    """Takes hands as absent if they have NaN or other garbage (see `joints.plausible`).

    Returns:
        The (t, 42, 7) features, and the number of frames that had such a hand.
    """
    good = joints.plausible_hands(features)
    if not good.all():
        features = np.where(np.repeat(good, joints.JOINTS_PER_HAND, 1)[..., None], features, 0.0)
    return features, int((~good).any(axis=1).sum())

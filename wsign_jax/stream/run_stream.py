"""Streams of a trained run."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from wsign_jax.decode.calibration import NOT_CALIBRATED, Calibration
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.streaming import StreamDecoder
from wsign_jax.evaluate.decoder_settings import choose_settings
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.model import whisper_sign
from wsign_jax.model.chunk import Chunk
from wsign_jax.model.layers import parameters_apart
from wsign_jax.model.whisper_sign import SIZES, Params, StreamCache
from wsign_jax.stream.chunks import ChunkOutputs, StreamModel
from wsign_jax.stream.options import check_options, make_decoder, stream_window
from wsign_jax.stream.sentence_end import Endpointer
from wsign_jax.stream.stream import Stream

Step = Callable[..., tuple[ChunkOutputs, StreamCache]]


def stream_run(trained: Trained, **options: Any) -> Stream:
    """Begins a stream of a run; `options` are those of `stream_parts`."""
    return Stream(*stream_parts(trained, **options))


def stream_parts(
    trained: Trained,
    *,
    chunk: int | None = None,
    left_context: int | None = None,
    decoder: str = GREEDY,
    endpoint_seconds: float = 0.0,
) -> tuple[StreamModel, StreamDecoder, Endpointer | None]:
    """Makes the parts of a run's stream.

    Args:
        trained: the run.
        chunk: patches that are recognized at a time, and see each other; by default 8 (0.53 s with
            patches of 4 frames), or the nearest that the run's last stage was trained with.
        left_context: patches before a chunk that it sees; by default 32, or the nearest. A size that
            was not trained with gives a warning.
        decoder: 'greedy', or 'prefix_beam' with the settings that it was tuned to.
        endpoint_seconds: a sentence is over after hands were absent or at rest for so long; 0: never.

    Raises:
        WSignError: the window is full attention, the decoder cannot stream, or an argument is not a
            number or is out of range.
    """
    chunk, left_context = stream_window(trained, chunk, left_context)
    check_options(decoder, endpoint_seconds)
    settings = choose_settings(trained, decoder)
    model = run_model(trained, chunk, left_context, settings.calibration)
    endpointer = Endpointer(trained, endpoint_seconds, chunk) if endpoint_seconds else None
    return model, make_decoder(trained, settings, chunk), endpointer


def run_model(
    trained: Trained, chunk: int, left_context: int, calibration: Calibration = NOT_CALIBRATED
) -> StreamModel:
    """Makes a run's model for a window in patches; it compiles once for every window."""
    config, size = trained.config.model, SIZES[trained.config.model.size]
    # One device, whatever mesh the run was opened for.
    device = jax.local_devices()[0]
    params = jax.device_put(trained.params, device)
    start = whisper_sign.bind_params(trained.network.graph, trained.params).stream_start
    cache = start(1, chunk, left_context)
    return StreamModel(
        vocabulary=trained.vocabulary,
        patch_size=trained.patch_size,
        look_ahead=config.frontend.look_ahead,
        positions=config.positions,
        head_width=size.width // size.heads,
        chunk=chunk,
        left_context=left_context,
        layers=len(cache.rings[0]),
        taps=cache.tail.shape[1] + 1,
        calibration=calibration,
        # Placed as a step's result is; otherwise the step would compile again.
        cache=jax.device_put(cache, device),
        step=functools.partial(
            make_step(trained.network.graph),
            params,
            apart=parameters_apart(params["encoder"]["blocks"]),
        ),
    )


@functools.lru_cache(maxsize=8)
def make_step(graph: nnx.GraphDef) -> Step:
    """Makes the jitted step for a chunk; it compiles once for every chunk size and left context.

    It takes parameters, a cache, a `Chunk`, and `apart`, as in `WhisperSign.stream_step`.
    """

    def step(
        params: Params, cache: StreamCache, chunk: Chunk, apart: Sequence[Params] = ()
    ) -> tuple[ChunkOutputs, StreamCache]:
        model = whisper_sign.bind_params(graph, params)
        states, cache = model.stream_step(chunk, cache, apart)
        logits = model.ctc_logits(states)
        return ChunkOutputs(states[0], logits[0], jax.nn.log_softmax(logits)[0]), cache

    return jax.jit(step)

"""The options of a stream, checked: its attention window, its decoder and the rest."""

import math
import numbers
import sys
from collections.abc import Sequence

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.decode.align import check_decoder_name
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.streaming import GreedyStreamDecoder, PrefixBeamDecoder, StreamDecoder
from wsign_jax.evaluate.decoder_settings import DecoderSettings
from wsign_jax.evaluate.trained_run import Trained, language_model
from wsign_jax.model.positions import as_patches

_DECODERS = (GREEDY, "prefix_beam")
# Patches: 0.53 s and 2.1 s. Before a chunk of 8, a left context of 32 had a lower validation WER on
# composed ASL than 64 and 128.
_DEFAULT_CHUNK, _DEFAULT_LEFT_CONTEXT = 8, 32
_LONGEST_WINDOW = 6000  # patches, 400 s


def stream_window(trained: Trained, chunk: int | None, left_context: int | None) -> tuple[int, int]:
    """Returns the attention window to use; warns if the run was not trained with it.

    Raises:
        WSignError: a stream cannot have this window.
    """
    stages = trained.info.config["stages"]
    stage = trained.info.config[stages[trained.info.stage]]
    chunks = sorted({size for size in stage["chunks"] if size})
    contexts = sorted(set(stage["left_contexts"])) if chunks else []
    if chunk is None:
        chunk = _nearest(chunks, _DEFAULT_CHUNK)
    if left_context is None:
        left_context = _nearest(contexts, _DEFAULT_LEFT_CONTEXT)
    chunk, left_context = as_patches("chunk", chunk), as_patches("left_context", left_context)
    if chunk < 1:
        raise WSignError(
            f"chunk is {chunk}; 0 would be full attention, which needs the whole recording: give 1 "
            "patch or more, or transcribe the recording"
        )
    if chunk + left_context > _LONGEST_WINDOW:
        raise WSignError(
            f"chunk {chunk} and left_context {left_context} are over {_LONGEST_WINDOW} patches "
            "together, which a stream has no memory for; give less"
        )
    for name, value, known in (("chunk", chunk, chunks), ("left_context", left_context, contexts)):
        if value not in known:
            trained_with = ", ".join(map(str, known)) or "full attention alone"
            print(
                f"warning: {trained.workdir} was not trained with a {name} of {value} patches but "
                f"with {trained_with}; expect more errors",
                file=sys.stderr,
                flush=True,
            )
    return chunk, left_context


def _nearest(known: Sequence[int], wanted: int) -> int:
    return min(known, key=lambda value: (abs(value - wanted), value), default=wanted)


def check_options(decoder: str, endpoint_seconds: float) -> None:
    """Raises a `WSignError` for what a stream cannot do."""
    check_decoder_name(decoder)
    if decoder not in _DECODERS:
        raise WSignError(
            f"decoder {decoder!r} cannot stream; take {' or '.join(map(repr, _DECODERS))}, and "
            "endpoint_seconds for sentences decoded anew"
        )
    if not isinstance(endpoint_seconds, numbers.Real) or not 0 <= endpoint_seconds < math.inf:
        raise WSignError(
            f"endpoint_seconds is {shown(endpoint_seconds)}; give seconds, 0 for never"
        )


def make_decoder(trained: Trained, settings: DecoderSettings, chunk: int) -> StreamDecoder:
    """Makes the stream's decoder, with the language model that it was tuned with."""
    if settings.decoder == GREEDY:
        return GreedyStreamDecoder()
    lm = language_model(trained, settings.lm, trained.workdir)
    size = len(trained.vocabulary)
    return PrefixBeamDecoder(chunk, size, settings.beam_size, settings.weights, lm)

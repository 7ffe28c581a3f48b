"""A trained run as a `Backend`."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from wsign_jax.common import files
from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.decoders import Search, decode_and_align
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.evaluate.decoder_settings import choose_settings, unknown_rule
from wsign_jax.evaluate.trained_run import Trained, config_overrides, language_model, open_run
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import SIZES, Params, WhisperSign
from wsign_jax.recognize import enrollment
from wsign_jax.recognize.backend import Program, RecognizedBatch, RecognizerSettings
from wsign_jax.stream.run_stream import stream_run
from wsign_jax.stream.stream import Stream

# Chunk and left context, () int32 patches; chunk 0 is full attention.
AttentionWindow = tuple[jax.Array, jax.Array]


class RunBackend:
    """A run's best checkpoint, or a certain one, always in float32."""

    def __init__(self, path: pathlib.Path, data: str | None = None):
        """Opens the run or checkpoint in a folder; see `open_run`.

        `data` is its data set's folder, if that has moved; only language models and cards need it.

        Raises:
            WSignError: there is no such run or checkpoint, or it is damaged.
        """
        fields = {"training.precision": "float32", "training.sharding": ((".*", "replicate"),)}
        self.trained = open_run(path, overrides={**fields, **config_overrides(data, None, None)})
        self.settings = recognizer_settings(self.trained)
        self.vocabulary = self.trained.vocabulary
        self._programs: dict[tuple[str, int, int], Program] = {}
        # Each compiles once per batch shape, whatever the window.
        self._steps: dict[Search, Callable[..., RecognizedBatch]] = {}

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """Returns the program for a decoder and a window; see `Backend`."""
        key = decoder, chunk, left_context
        if key not in self._programs:
            self._programs[key] = self._make(decoder, chunk, left_context)
        return self._programs[key]

    def stream(
        self, chunk: int | None, left_context: int | None, decoder: str, endpoint_seconds: float
    ) -> Stream:
        """Begins a stream; see `run_stream.stream_parts`."""
        return stream_run(
            self.trained,
            chunk=chunk,
            left_context=left_context,
            decoder=decoder,
            endpoint_seconds=endpoint_seconds,
        )

    def read_enrolled(self) -> enrollment.Enrolled:
        """Reads the signs that were added to the run; see `Backend`."""
        return enrollment.read(self.trained.workdir / enrollment.ENROLLED, self.vocabulary)

    def change_enrolled(
        self, change: Callable[[enrollment.Enrolled], enrollment.Enrolled]
    ) -> enrollment.Enrolled:
        """Changes those in the run's folder; see `Backend`."""
        path = self.trained.workdir / enrollment.ENROLLED
        lock = path.with_name(f".{path.name}.lock")
        with files.hold_lock(lock, f"{path}: another process is changing it; try again"):
            signs = change(self.read_enrolled())
            files.write(path, signs.to_bytes())
        return signs

    def _make(self, decoder: str, chunk: int, left_context: int) -> Program:
        config = self.trained.config.copy_and_resolve_references()
        config.eval.chunk, config.eval.left_context = chunk, left_context
        trained = dataclasses.replace(self.trained, config=config)
        settings = choose_settings(trained, decoder)
        lm = language_model(trained, settings.lm, trained.data_root)
        weights = jax.tree.map(np.float32, settings.weights)
        window = np.int32(config.eval.chunk), np.int32(config.eval.left_context)
        if settings.search not in self._steps:
            recognize = make_recognize(trained.network.graph, settings.search)
            self._steps[settings.search] = jax.jit(recognize)
        step = self._steps[settings.search]

        def run(
            keypoints: np.ndarray, hands: np.ndarray, frames: np.ndarray, no_hands: np.ndarray
        ) -> RecognizedBatch:
            return step(trained.params, keypoints, hands, frames, no_hands, window, weights, lm)

        return Program(
            run, config.eval.chunk, settings.calibration, unknown_rule(trained, settings)
        )


def recognizer_settings(trained: Trained) -> RecognizerSettings:
    """The settings of a run."""
    config, size = trained.config, SIZES[trained.config.model.size]
    return RecognizerSettings(
        patch_size=trained.patch_size,
        look_ahead=config.model.frontend.look_ahead,
        aspect=config.data.aspect,
        positions=config.model.positions,
        width=size.width,
        head_width=size.width // size.heads,
        chunk=config.eval.chunk,
        left_context=config.eval.left_context,
    )


def make_recognize(graph: nnx.GraphDef, search: Search) -> Callable[..., RecognizedBatch]:
    """Makes the function from raw keypoints to glosses that is run, and exported."""

    def recognize(
        params: Params,
        keypoints: jax.Array,
        hands: jax.Array,
        frames: jax.Array,
        no_hands: jax.Array,
        window: AttentionWindow,
        weights: Weights,
        lm: LanguageModel | None = None,
        tables: tuple[jax.Array, ...] | None = None,
    ) -> RecognizedBatch:
        model = whisper_sign.bind_params(graph, params)
        states, logits, patches = encode_keypoints(model, keypoints, hands, frames, window, tables)
        log_probs = blank_without_hands(jax.nn.log_softmax(logits), no_hands)
        beams, alignment = decode_and_align(search, model, states, log_probs, patches, weights, lm)
        return RecognizedBatch(logits, patches, beams, alignment)

    return recognize


def encode_keypoints(
    model: WhisperSign,
    keypoints: jax.Array,
    hands: jax.Array,
    frames: jax.Array,
    window: AttentionWindow,
    tables: tuple[jax.Array, ...] | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Encodes keypoints (B, T, J, 3) as on disk, with the confidence (B, T, 2) of their hands.

    `frames` (B,) are valid; `tables` are as in `WhisperSign.encode`.

    Returns:
        States (B, N, D), CTC logits (B, N, V) and valid patches (B,).
    """
    chunk, left_context = window
    states, patches = model.encode(
        model.features(keypoints, hands, frames),
        frames,
        chunk=jnp.where(chunk > 0, chunk, FULL_ATTENTION),
        left_context=left_context,
        tables=tables,
    )
    return states, model.ctc_logits(states), patches


def blank_without_hands(log_probs: jax.Array, no_hands: jax.Array) -> jax.Array:
    """Returns log posteriors (B, N, V) that are the blank's in the patches (B, N) without hands."""
    blank = jnp.where(jnp.arange(log_probs.shape[2], dtype=jnp.int32) == BLANK_ID, 0.0, -jnp.inf)
    return jnp.where(no_hands[..., None], blank[None, None], log_probs)

"""Finds where a sentence of a stream ends, and decodes the whole sentence again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.transcript import Gloss, Transcript
from wsign_jax.evaluate.decoder_settings import choose_settings
from wsign_jax.evaluate.evaluate import DecodedBatch, make_search, timed_glosses
from wsign_jax.evaluate.trained_run import Trained, language_model
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import (
    Frames,
    concatenate,
    find_movement,
    frames_between,
    no_frames,
)
from wsign_jax.train.validation import EncodedBatch


def longest_sentence(trained: Trained, chunk: int) -> int:
    """Returns the most patches that a sentence has: those of the longest recording trained on.

    It holds at least one `chunk`, because a chunk is added as a whole.
    """
    return max(-(-trained.config.data.max_seq_length // trained.patch_size), chunk)


class _Patches(NamedTuple):
    """The encoder's outputs for a sentence, patch by patch."""

    states: np.ndarray  # (n, D)
    log_probs: np.ndarray  # (n, V)
    best: np.ndarray  # (n,) best ids

    def part(self, begin: int, end: int) -> "_Patches":
        """Returns the patches from `begin` to before `end`."""
        return _Patches(*(x[begin:end] for x in self))


class Endpointer:
    """Keeps the encoder's outputs for the current sentence until it is over.

    A sentence is over once no hand has moved for a configured time, or at the latest when it has as many
    frames as the run was trained on (`data.max_seq_length`), so that its memory is bounded. It ends
    with the last patch that CTC takes for a blank, so that a gloss is never cut in two. The patches
    after that begin the next sentence. The encoder goes on as if nothing had happened.
    """

    def __init__(self, trained: Trained, seconds: float, chunk: int = 1):
        """Compiles the search: rescoring with an attention decoder, otherwise prefix beam search.

        The search has the settings that the run was tuned to. A sentence is over after `seconds` without
        movement; `chunk` is the most patches that are added at a time.
        """
        self._trained = trained
        self._rest = round(seconds * joints.FPS)
        self._room = longest_sentence(trained, chunk)
        decoder = "rescore" if trained.has_attention_decoder else "prefix_beam"
        self._settings = choose_settings(trained, decoder)
        self._lm = language_model(trained, self._settings.lm, trained.workdir)
        self._search = jax.jit(make_search(trained, self._settings))
        width, vocab_size = trained.params["ctc_head"]["kernel"].shape
        self._kept = _Patches(
            np.zeros((0, width), np.float32),
            np.zeros((0, vocab_size), np.float32),
            np.zeros(0, np.int64),
        )
        self._first = 0  # the sentence's first patch, as the stream counts them
        self._last = no_frames(2)  # the last frame is judged when the next one has come
        self._still = -1  # frames since a hand moved; the first that is judged is before the stream
        self._decode(self._kept)

    @property
    def is_empty(self) -> bool:
        """Whether the current sentence has no gloss yet."""
        return not self._kept.best.any()

    def see(self, frames: Frames) -> None:
        """Takes the next n frames."""
        known = concatenate([self._last, frames])
        (moved,) = np.nonzero(find_movement(known))
        count = len(frames.confidence)
        self._still = count - 1 - int(moved[-1]) if len(moved) else self._still + count
        self._last = frames_between(known, -2, None)

    def add(self, first: int, states: np.ndarray, log_probs: np.ndarray) -> list[Transcript]:
        """Takes the next patches.

        They are (n, D) states and (n, V) log posteriors. If patches before the `first` are left out, a
        new sentence begins.

        Returns:
            The sentences that are over, decoded again.
        """
        closed = []
        if first != self._first + len(self._kept.best):
            closed += self.close(at_end=True)
            self._first = first
        while len(self._kept.best) + len(states) > self._room and len(self._kept.best):
            closed += self.close()
        new = _Patches(states, log_probs, log_probs.argmax(axis=-1))
        self._kept = _Patches(*map(np.concatenate, zip(self._kept, new, strict=True)))
        return closed + (self.close() if self._still >= self._rest else [])

    def close(self, at_end: bool = False) -> list[Transcript]:
        """Ends the current sentence; at the stream's end it has all patches, even if a gloss goes on.

        Returns:
            The sentence, decoded again; an empty list if it has no gloss.
        """
        (blanks,) = np.nonzero(self._kept.best == BLANK_ID)
        count = len(self._kept.best)
        cut = int(blanks[-1]) + 1 if len(blanks) and not at_end else count
        sentence = self._kept.part(0, cut)
        closed = [self._decode(sentence)] if sentence.best.any() else []
        self._kept = self._kept.part(cut, count)
        self._first += cut
        return closed

    def _decode(self, sentence: _Patches) -> Transcript:
        def padded(x: np.ndarray) -> np.ndarray:
            return np.pad(x, ((0, self._room - len(x)), (0, 0)))[None]

        count, nothing = np.array([len(sentence.best)], np.int32), np.zeros(1, np.int32)
        kept = padded(sentence.states), padded(sentence.log_probs), count, nothing, nothing
        encoded = EncodedBatch(*map(jnp.asarray, kept))
        found = self._search(self._trained.params, encoded, self._settings.weights, self._lm)
        decoded = DecodedBatch(*jax.device_get((encoded, *found)))
        ids, spans, confidences = timed_glosses(decoded, 0, self._trained.patch_size)
        spans += self._first * self._trained.patch_size / joints.FPS
        spans = self._settings.calibration.times(spans)
        confidences = self._settings.calibration.confidences(confidences)
        names = self._trained.vocabulary.glosses(ids)
        glosses = [
            Gloss(name, float(start), float(end), float(sure))
            for name, (start, end), sure in zip(names, spans, confidences, strict=True)
        ]
        return Transcript(glosses, float(decoded.beams.scores[0, 0]))

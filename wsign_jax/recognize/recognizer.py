"""Recognizes glosses in videos and keypoints, in a few lines of code.

from wsign_jax import Recognizer

recognizer = Recognizer.load("runs/asl")  # a run's folder, a checkpoint's, or an exported file
for transcript in recognizer.transcribe(["hello.mp4", "sentence.npy"]):
    print(transcript.text)
"""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data import validate
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode import align
from wsign_jax.decode.align import check_decoder_name
from wsign_jax.decode.enrolled_signs import EnrolledSigns, merge_enrolled
from wsign_jax.decode.no_hands import patches_without_hands
from wsign_jax.decode.transcript import (
    OFF,
    UNKNOWN_MODES,
    Candidate,
    Gloss,
    Transcript,
    as_asked,
)
from wsign_jax.decode.unknown import UnknownRule
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames
from wsign_jax.model.positions import check_window
from wsign_jax.recognize import enrollment, exported_file
from wsign_jax.recognize.backend import Backend, Program, RecognizedBatch, RecognizerSettings
from wsign_jax.recognize.batches import plan_batches
from wsign_jax.recognize.read_recordings import (
    Recording,
    label_of,
    list_recordings,
    read_recording,
    split_batch,
)
from wsign_jax.stream.stream import Stream


class _Found(NamedTuple):
    """One recording's best hypothesis."""

    ids: tuple[int, ...]
    spans: np.ndarray  # (U, 2) seconds
    confidences: np.ndarray  # (U,) calibrated
    score: float
    unknown: np.ndarray  # (U,) bool


class Recognizer:
    """A trained model in use."""

    def __init__(self, backend: Backend, hand_landmarker: pathlib.Path | None = None):
        """Wraps a model; `load` makes a recognizer from a path."""
        self._backend = backend
        self._hand_landmarker = hand_landmarker
        self._enrolled = backend.read_enrolled()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        hand_landmarker: str | os.PathLike[str] | None = None,
    ) -> "Recognizer":
        """Opens a model.

        Load only files and runs from people you trust. An exported file is checked before it runs, but
        its program can still run forever and use up the memory. A run's folder is data only.

        The vocabulary is the one that the model was trained with, whatever has become of its data set.

        Args:
            path: a run's folder (its best checkpoint is taken), a checkpoint's folder, or a file of
                `tools/export.py`. With a list of runs, of the hypotheses of all of them, that is taken
                which all together find the likeliest; their enrolled signs and thresholds are not used.
            hand_landmarker: a copy of MediaPipe's `hand_landmarker.task`, to read videos; None takes the
                cached one, or downloads it.

        Raises:
            WSignError: there is no model, it is damaged, a newer version of this project wrote it, or
                runs differ in glosses or input.
        """
        model = None if hand_landmarker is None else pathlib.Path(hand_landmarker)
        if isinstance(path, str | os.PathLike) and pathlib.Path(path).is_file():
            return cls(exported_file.read_exported(pathlib.Path(path)), model)
        # An exported file does without these.
        from wsign_jax.recognize import ensemble_backend, run_backend  # noqa: PLC0415

        if isinstance(path, str | os.PathLike):
            return cls(run_backend.RunBackend(pathlib.Path(path)), model)
        runs = [run_backend.RunBackend(pathlib.Path(x)) for x in path]
        return cls(runs[0] if len(runs) == 1 else ensemble_backend.EnsembleBackend(runs), model)

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses it was trained with, by id."""
        return self._backend.vocabulary

    @property
    def settings(self) -> RecognizerSettings:
        """The input that the model expects, and its window."""
        return self._backend.settings

    def prepare(
        self,
        decoder: str = "greedy",
        chunk: int | None = None,
        left_context: int | None = None,
        unknown: str = OFF,
    ) -> None:
        """Raises the `WSignError` that `transcribe` would raise for these arguments."""
        program = self._program(decoder, chunk, left_context)
        self._unknown_rule(program, unknown, has_enrolled=False)

    def transcribe(
        self,
        recordings: Recording | Sequence[Recording],
        decoder: str = "greedy",
        chunk: int | None = None,
        left_context: int | None = None,
        unknown: str = OFF,
    ) -> list[Transcript]:
        """Recognizes recordings.

        Args:
            recordings: one recording or a list, of any lengths. Each is the path of a video, of a folder
                of pictures (25 fps) or of a .npy, or keypoints (T, 42, 7) as on disk, floats at 60 Hz
                with y in picture widths.
            decoder: one of `decode.decoders.DECODERS`, with the weights that it was tuned to; an
                exported file has only 'greedy'.
            chunk: attention's chunk in patches, 0 for full attention. None takes the chunk that the run
                was evaluated with, which is full attention unless its config says otherwise.
            left_context: patches seen before the chunk; None takes that of the run's evaluation.
            unknown: what becomes of glosses that do not look familiar, by the rule that
                `tools/tune_decoder.py` has fitted: 'off' leaves them, 'mark' replaces their labels by
                `transcript.UNKNOWN`, 'drop' leaves them out.

        Returns:
            A transcript for each, always as a list. If no hand was seen for a second, no gloss is
            recognized there, as in a stream.

        Raises:
            WSignError: a recording cannot be read, is not keypoints, or is shorter than two frames or
                longer than 10 minutes; or the model has no such decoder, or no threshold.
        """
        program = self._program(decoder, chunk, left_context)
        signs = self._enrolled.prototypes()
        rule = self._unknown_rule(program, unknown, has_enrolled=signs is not None)
        listed = enumerate(list_recordings(recordings))
        keypoints = [self.keypoints(x, f"recording {number}") for number, x in listed]
        transcripts = []
        recognized = self._recognize(keypoints, program, rule)
        for features, found in zip(keypoints, recognized, strict=True):
            labels = self.vocabulary.glosses(found.ids)
            columns = zip(labels, found.spans, found.confidences, found.unknown, strict=True)
            candidates = [
                Candidate(Gloss(label, float(start), float(end), float(sure)), bool(is_unknown))
                for label, (start, end), sure, is_unknown in columns
            ]
            if signs is not None:
                candidates = merge_enrolled(signs, features, candidates, rule is not None)
            transcripts.append(Transcript(as_asked(candidates, unknown), found.score))
        return transcripts

    @property
    def tells_unknown(self) -> bool:
        """Whether greedy decoding was tuned, so that known signs are told from unknown ones."""
        return self._program("greedy", None, None).unknown is not None

    @property
    def enrolled(self) -> dict[str, int]:
        """The signs that `enroll` has added, and the number of recordings of each."""
        return self._enrolled.counts()

    def enroll(
        self, name: str, recordings: Recording | Sequence[Recording], replace: bool = False
    ) -> None:
        """Adds a sign by 1 to 20 recordings of it, without training.

        From then on `transcribe` and `stream` tell it, also in sentences; so does every recognizer that
        loads the run later, since it is kept in the run's `enrolled.npz`.

        Args:
            name: its gloss. That of a sign that the model knows adds a way of signing it.
            recordings: as for `transcribe`, each of the sign alone.
            replace: allows a name that the model knows, or that is enrolled; then the earlier recordings
                are forgotten.

        Raises:
            WSignError: the name is taken, a recording is not of one sign, they do not resemble each
                other, it looks like an enrolled sign, or the model is an exported file.
        """
        listed = list_recordings(recordings)
        self._enrolled.check_name(name, len(listed), self.vocabulary, replace)
        labels = [label_of(x, f"recording {number}") for number, x in enumerate(listed)]
        keypoints = map(self.keypoints, listed, labels)
        frames = [Frames(*joints.positions_and_confidence(x)) for x in keypoints]

        def add(signs: enrollment.Enrolled) -> enrollment.Enrolled:
            signs.check_name(name, len(listed), self.vocabulary, replace)
            return signs.with_sign(signs.spelling(name, self.vocabulary), frames, labels)

        self._enrolled = self._backend.change_enrolled(add)

    def forget(self, name: str) -> None:
        """Takes back what `enroll` has added.

        Raises:
            WSignError: it is not enrolled, or the model is an exported file.
        """
        self._enrolled = self._backend.change_enrolled(lambda signs: signs.without(name))

    def decode(
        self, features: np.ndarray, lengths: np.ndarray, decoder: str = "greedy"
    ) -> list[list[int]]:
        """Returns each row's gloss ids of a padded batch (B, T, 42, 7); the original had this call.

        Enrolled signs have no ids, and are not among them.

        Raises:
            WSignError: the shapes are wrong, or as for `transcribe`.
        """
        program = self._program(decoder, None, None)
        rows = self._rows(features, lengths)
        return [list(found.ids) for found in self._recognize(rows, program)]

    def logits(
        self,
        features: np.ndarray,
        lengths: np.ndarray,
        chunk: int | None = None,
        left_context: int | None = None,
    ) -> list[np.ndarray]:
        """Returns CTC's logits, (N, V) float32 for each row; see `decode` and `transcribe`."""
        program = self._program("greedy", chunk, left_context)
        rows = self._rows(features, lengths)
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for examples, batch in self._batches(rows, program):
            logits, patches = jax.device_get((batch.logits, batch.patches))
            for row, example in enumerate(examples):
                if example >= 0:
                    found[example] = logits[row, : patches[row]]
        return found

    def stream(
        self,
        chunk: int | None = None,
        left_context: int | None = None,
        decoder: str = "greedy",
        endpoint_seconds: float = 0.0,
        unknown: str = OFF,
    ) -> Stream:
        """Begins a stream, whose offline twin is `transcribe` with the same window.

        Args:
            chunk: patches that are recognized at a time; see `run_stream.stream_parts`. An exported file
                has one window.
            left_context: patches before a chunk that it sees.
            decoder: 'greedy' or 'prefix_beam'; an exported file has only 'greedy'.
            endpoint_seconds: a sentence is over after hands were absent or at rest for so long; 0:
                never, as in any exported file.
            unknown: as in `transcribe`; the sentences that `endpoint_seconds` closes stay as they are.

        Raises:
            WSignError: the model cannot stream so, or an argument is not a number or is out of range.
        """
        known = self._enrolled.prototypes()
        has_enrolled = known is not None
        if has_enrolled and endpoint_seconds:
            raise WSignError(
                "a stream with enrolled signs closes no sentences; leave endpoint_seconds out, or "
                f"forget {', '.join(self.enrolled)}"
            )
        stream = self._backend.stream(chunk, left_context, decoder, endpoint_seconds)
        rule = None
        if has_enrolled or unknown != OFF:
            program = self._program(decoder, None, None)
            rule = self._unknown_rule(program, unknown, has_enrolled)
        signs = None if known is None else EnrolledSigns(known, rule is not None)
        stream.begin_with(signs, rule, unknown)
        return stream

    def keypoints(self, recording: Recording, name: str = "keypoints") -> np.ndarray:
        """Returns a recording as (T, 42, 7) float32, not normalized, y in picture widths.

        Raises:
            WSignError: it cannot be read, or is not a recording.
        """
        return read_recording(recording, name, self._backend.settings, self._hand_landmarker)

    # ----------------------------------------------------------------------------------- computing

    def _rows(self, features: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """Returns the checked rows of a padded batch."""
        rows = enumerate(split_batch(features, lengths))
        return [self.keypoints(x, f"row {row}") for row, x in rows]

    def _program(self, decoder: str, chunk: int | None, left_context: int | None) -> Program:
        check_decoder_name(decoder)
        # The same program for every integer type.
        chunk, left_context = check_window(chunk, left_context)
        return self._backend.program(decoder, *self._backend.settings.window(chunk, left_context))

    def _unknown_rule(
        self, program: Program, unknown: str, has_enrolled: bool
    ) -> UnknownRule | None:
        """Returns the rule that tells unknown signs; None if nothing asks for it."""
        if unknown not in UNKNOWN_MODES:
            raise WSignError(f"unknown is {shown(unknown)}; give {', '.join(UNKNOWN_MODES)}")
        if unknown == OFF:
            return program.unknown if has_enrolled else None
        if program.unknown is None:
            raise WSignError(
                "the model has no threshold for unknown signs; run tools/tune_decoder.py, which finds "
                "one, and export again if this is an exported file (several runs as one have none)"
            )
        return program.unknown

    def _recognize(
        self,
        recordings: Sequence[np.ndarray],
        program: Program,
        rule: UnknownRule | None = None,
    ) -> list[_Found]:
        """Returns the best hypothesis of each recording, in their order."""
        found: dict[int, _Found] = {}
        for examples, batch in self._batches(recordings, program):
            log_probs = jax.nn.log_softmax(batch.logits) if rule else batch.patches
            log_probs, patches, beams, alignment = jax.device_get(batch._replace(logits=log_probs))
            for row in np.flatnonzero(examples >= 0).tolist():
                length = int(beams.label_lengths[row, 0])
                spans, confidences = align.times_and_confidences(
                    alignment, row, length, int(patches[row]), self._backend.settings.patch_size
                )
                ids = tuple(beams.labels[row, 0, :length].tolist())
                unknown = np.zeros(length, bool)
                if rule is not None:
                    places = alignment.starts[row, :length], alignment.ends[row, :length]
                    unknown = rule.find_unknown(log_probs[row], *places, ids)
                found[int(examples[row])] = _Found(
                    ids,
                    program.calibration.times(spans),
                    program.calibration.confidences(confidences),
                    float(beams.scores[row, 0]),
                    unknown,
                )
        return [found[number] for number in range(len(recordings))]

    def _batches(
        self, recordings: Sequence[np.ndarray], program: Program
    ) -> Iterator[tuple[np.ndarray, RecognizedBatch]]:
        """Yields padded batches: each row's number of its recording, -1 if masked, and the result."""
        settings = self._backend.settings
        for plan in plan_batches([len(x) for x in recordings]):
            length = validate.patches_of(plan.bucket, settings.patch_size) * settings.patch_size
            rows = len(plan.rows)
            positions = np.zeros((rows, length, joints.NUM_JOINTS, 3), np.float32)
            hands = np.zeros((rows, length, len(joints.HANDS)), np.float32)
            frames = np.zeros(rows, np.int32)
            no_hands = np.zeros((rows, length // settings.patch_size), bool)
            for row in np.flatnonzero(plan.rows >= 0):
                recording = recordings[plan.rows[row]]
                frames[row] = len(recording)
                real = row, slice(len(recording))
                positions[real], hands[real] = joints.positions_and_confidence(recording)
                seen = np.any(joints.seen_hands(recording), axis=1)
                chunk = program.chunk or len(recording)
                absent = patches_without_hands(
                    seen, chunk, settings.patch_size, settings.look_ahead
                )
                no_hands[row, : len(absent)] = absent
            yield plan.rows, program.run(positions, hands, frames, no_hands)

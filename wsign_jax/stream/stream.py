"""A stream of hand keypoints: chunks in, glosses out, the same ones as for the whole recording.

`Stream` is the host's side. It takes frames (or the hands found in pictures) in pushes of any size,
makes chunks of C patches out of them and collects glosses. All that it carries from push to push is one
`StreamState`, whose size never changes. Its step is one compiled program. Each patch is encoded only
once.
"""

import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode import align
from wsign_jax.decode.enrolled_signs import EnrolledSigns
from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.decode.streaming import WINDOW, PatchRun, StreamDecoder
from wsign_jax.decode.transcript import OFF, Candidate, Gloss, Transcript, as_asked
from wsign_jax.decode.unknown import StreamedUnknown, UnknownRule
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Detection
from wsign_jax.keypoints.picture_stream import PictureStream
from wsign_jax.keypoints.track import Frames, frames_between
from wsign_jax.model.positions import MAX_SINUSOIDAL_PATCHES, SINUSOIDAL
from wsign_jax.stream.chunks import (
    GOES_ON,
    ChunkOutputs,
    StreamModel,
    StreamState,
    begin_next_chunk,
    drop_nan_hands,
    fill_chunk,
    init_stream,
    next_chunk,
)

if TYPE_CHECKING:  # it decodes with the network
    from wsign_jax.stream.sentence_end import Endpointer


class StreamResult(NamedTuple):
    """The glosses that one push has brought."""

    stable: list[Gloss]  # new ones, which never change again
    partial: list[Gloss]  # all of the current sentence that is not stable yet; may change
    # Only with endpointing, if this push has closed a sentence: the whole sentence, decoded again.
    final: Transcript | None = None


@dataclasses.dataclass
class TimeSpent:
    """The time that a stream has taken so far, without compilation."""

    chunks: int = 0
    model_seconds: float = 0.0
    decoding_seconds: float = 0.0


class Stream:
    """One stream from its first frame to its last.

    It is not safe to use from several threads at once. Times of glosses are seconds from the first
    frame or picture.
    """

    def __init__(
        self,
        model: StreamModel,
        decoder: StreamDecoder,
        endpointer: "Endpointer | None" = None,
    ):
        """Begins a stream; compiles the model's step. `run_stream.stream_run` begins one of a run."""
        self._model, self._decoder, self._endpointer = model, decoder, endpointer
        if model.positions == SINUSOIDAL:
            print(
                f"note: sinusoidal positions: one utterance a stream, {MAX_SINUSOIDAL_PATCHES} patches "
                "at most",
                file=sys.stderr,
                flush=True,
            )
        self.state = init_stream(model, decoder)
        self._pictures: PictureStream | None = None
        self._finished = False
        self._nan_frames = 0
        self.spent = TimeSpent()
        self._stable: list[Candidate] = []
        self._closed: list[Transcript] = []
        self._enrolled: EnrolledSigns | None = None
        self._unknown: StreamedUnknown | None = None
        self._unknown_mode = OFF
        jax.block_until_ready(self._encode(self.state, GOES_ON))

    def begin_with(
        self, signs: EnrolledSigns | None, rule: UnknownRule | None, unknown: str
    ) -> None:
        """Lets a stream that has not begun tell enrolled signs too, and unknown ones from known ones.

        With enrolled signs, a gloss waits until none can take its place: for up to 1.67 times the
        longest of their recordings. `unknown`, one of `UNKNOWN_MODES`, says what becomes of a gloss that
        is unknown by the rule.
        """
        self._enrolled = signs
        if rule is not None:
            self._unknown = StreamedUnknown(rule, room=self.chunk + WINDOW)
        self._unknown_mode = unknown

    @property
    def chunk(self) -> int:
        """Patches that are recognized at a time, and see each other."""
        return self._model.chunk

    @property
    def left_context(self) -> int:
        """Patches before a chunk that it sees."""
        return self._model.left_context

    @property
    def nan_frames(self) -> int:
        """Frames or pictures in which a hand counted as absent because of NaN, infinity or garbage."""
        return self._nan_frames + (self._pictures.nan_pictures if self._pictures else 0)

    @property
    def delay(self) -> float:
        """Seconds by which the chunk and the look-aheads delay a frame at a chunk's beginning."""
        model = self._model
        frames = (model.chunk + model.look_ahead) * model.patch_size + 1  # for velocities
        return frames / joints.FPS + (PictureStream.delay if self._pictures else 0.0)

    def push(
        self, keypoints: np.ndarray | Sequence[Detection], time_s: float | None = None
    ) -> StreamResult:
        """Takes the next frames, or the next picture's hands.

        Args:
            keypoints: (t, 42, 7) floats at 60 Hz as on disk, any number of frames, whose velocities are
                not read; or the hands that were found in one picture. A stream takes only one of the two
                kinds.
            time_s: when the picture was taken, seconds by any clock, up to an hour after the one before;
                None for keypoints.

        Returns:
            The glosses that are known now. Frames of pictures are known `PictureStream.delay` later.

        Raises:
            WSignError: the stream is finished, the input is not keypoints, times do not increase or
                leave out more than an hour, or sinusoidal positions come to their end. Earlier input
                stays; `finish` gives the rest.
        """
        if self._finished:
            raise WSignError("this stream is finished; begin another one")
        for frames in self._frames(keypoints, time_s):
            self._take(frames)
        return self._result()

    def finish(self) -> StreamResult:
        """Ends the stream: what was still open becomes stable, and the last sentence is closed."""
        if self._finished:
            raise WSignError("this stream is finished; begin another one")
        self._finished = True
        if self._pictures is not None:
            self._take(frames_between(self._pictures.finish(), 0, self._frames_left))
        patches = -(-self.state.total // self._model.patch_size) - self.state.skipped
        while self.state.first < patches:
            self._run_chunk(patches)
        self._add(self._decoder.finish(self.state.decoding))
        self.state = self.state._replace(decoding=self._decoder.start())
        if self._endpointer:
            self._closed += self._endpointer.close(at_end=True)
        return self._result()

    # ------------------------------------------------------------------------------------------ frames

    def _frames(
        self, keypoints: np.ndarray | Sequence[Detection], time_s: float | None
    ) -> Iterable[Frames]:
        """Returns the checked frames, in parts."""
        started = self.state.total > 0 or self._pictures is not None
        if isinstance(keypoints, np.ndarray | jax.Array):
            if time_s is not None or (started and self._pictures is not None):
                raise WSignError(
                    "keypoints of 60 Hz frames have no time of their own; leave time_s out, and do "
                    "not push them into a stream of pictures"
                )
            return [self._checked(keypoints)]
        if not isinstance(keypoints, Sequence) or isinstance(keypoints, str | bytes):
            raise WSignError(
                f"keypoints are {shown(keypoints)}; give floats (t, 42, 7), or a list of the hands in "
                "a picture"
            )
        if time_s is None or (started and self._pictures is None):
            raise WSignError(
                "hands of a picture need its time; give time_s, and do not push them into a stream "
                "of 60 Hz frames"
            )
        pictures = self._pictures or PictureStream()
        parts = pictures.push(time_s, keypoints)
        self._pictures = pictures  # not if the first picture was refused
        return parts

    def _checked(self, features: np.ndarray) -> Frames:
        """Returns the frames of (t, 42, 7) features, without NaN."""
        frames, bad = drop_nan_hands(joints.as_features(features, "keypoints"))
        self._nan_frames += bad
        return frames

    def _take(self, frames: Frames) -> None:
        """Fills chunks with frames, and runs each full one."""
        count = len(frames.confidence)
        if count > self._frames_left:
            longest = MAX_SINUSOIDAL_PATCHES * self._model.patch_size
            raise WSignError(
                f"the run's sinusoidal positions end after {MAX_SINUSOIDAL_PATCHES} patches "
                f"({longest / joints.FPS:.0f} s), and this stream would have "
                f"{self.state.total + count} frames; finish it and begin another one, or "
                "train with model.positions=rotary"
            )
        if self._enrolled:
            self._enrolled.see(frames)
        while len(frames.confidence):
            if count := self._sleeps_through(frames):
                self._skip(frames_between(frames, 0, count))
                frames = frames_between(frames, count, None)
                continue
            whole = len(self.state.frames.confidence)
            room = whole - self.state.filled
            now = frames_between(frames, 0, room)
            self.state = fill_chunk(self.state, now)
            if self._endpointer:
                self._endpointer.see(now)
            if self.state.filled == whole:
                self._run_chunk(GOES_ON)
            frames = frames_between(frames, room, None)

    @property
    def _frames_left(self) -> int:
        """How many more frames the stream may have with the run's positions."""
        if self._model.positions != SINUSOIDAL:
            return sys.maxsize
        return MAX_SINUSOIDAL_PATCHES * self._model.patch_size - self.state.total

    # ------------------------------------------------------------------------------------------ chunks

    def _sleeps_through(self, frames: Frames) -> int:
        """How many of the next frames make whole chunks that change nothing, since none shows a hand."""
        # The first frame of the chunk came with the one before. Without a hand it is like the skipped.
        if self.state.filled > 1 or not self._is_silent or not self._may_sleep():
            return 0
        (seen,) = np.nonzero(frames.confidence.any(axis=1))
        absent = int(seen[0]) if len(seen) else len(frames.confidence)
        return absent - absent % (self.chunk * self._model.patch_size)

    def _skip(self, frames: Frames) -> None:
        """Counts frames of whole chunks and does nothing else, as `_run_chunk` would for each chunk."""
        count = len(frames.confidence)
        patches = count // self._model.patch_size
        total, skipped = self.state.total + count, self.state.skipped + patches
        self.state = self.state._replace(total=total, skipped=skipped)
        if self._endpointer:
            self._endpointer.see(frames)

    @property
    def _is_silent(self) -> bool:
        """Whether the chunk, as far as it has come, and the second before it show no hand."""
        number = self.state.first + self.state.skipped
        return self.state.last_seen < number * self._model.patch_size - NO_HANDS_FRAMES

    def _run_chunk(self, patches: int) -> None:
        """Encodes and decodes the chunk, as far as it is filled; `patches` is as in `next_chunk`."""
        state, number = self.state, self.state.first + self.state.skipped
        is_silent = self._is_silent
        if is_silent and patches == GOES_ON and self._may_sleep():
            # Attention reaches only frames without hands and sees only distances: encoding would give
            # the same cache again.
            self.state = begin_next_chunk(state)._replace(skipped=state.skipped + self.chunk)
            return
        begin = time.perf_counter()
        outputs, cache = self._encode(state, patches)
        valid = slice(max(-state.first, 0), min(self.chunk, patches - state.first))
        log_probs = np.asarray(outputs.log_probs)[valid]
        encoded = time.perf_counter()
        if is_silent:
            log_probs = np.full_like(log_probs, -np.inf)
            log_probs[:, BLANK_ID] = 0.0
        if self._unknown:
            self._unknown.see(number + valid.start, log_probs)
        stable, decoding = self._decoder.extend(state.decoding, log_probs, number + valid.start)
        self._add(stable)
        if self._endpointer and len(log_probs):
            states = np.asarray(outputs.states)[valid]
            self._closed += self._endpointer.add(number + valid.start, states, log_probs)
        has_hand = state.last_seen >= state.total - (state.filled - state.begin)
        self.state = begin_next_chunk(state)._replace(
            cache=cache,
            decoding=decoding,
            first=state.first + self.chunk,
            quiet=0 if has_hand or state.first < 0 else state.quiet + self.chunk,
        )
        self.spent.chunks += 1
        self.spent.model_seconds += encoded - begin
        self.spent.decoding_seconds += time.perf_counter() - encoded

    def _may_sleep(self) -> bool:
        """Whether the next chunk sees no hands through all layers, and no gloss is open."""
        if (
            self._model.positions == SINUSOIDAL
            or self.state.decoding.run.id != BLANK_ID
            or not (self._endpointer is None or self._endpointer.is_empty)
        ):
            return False
        return self.state.quiet >= self._model.reach

    def _encode(self, state: StreamState, patches: int) -> tuple[ChunkOutputs, Any]:
        return self._model.step(state.cache, next_chunk(self._model, state, patches))

    # ----------------------------------------------------------------------------------------- glosses

    def _result(self) -> StreamResult:
        run = self.state.decoding.run
        stable = self._stable
        partial = [Candidate(self._gloss(run))] if run.id != BLANK_ID else []
        if self._enrolled and self._finished:
            stable = self._enrolled.finish(stable)
        elif self._enrolled:
            patches = run.start if partial else self.state.first + self.state.skipped
            until = patches * self._model.patch_size / joints.FPS
            until += self._model.calibration.sign_start or 0.0
            stable = self._enrolled.merge(stable, until)
            partial = [*self._enrolled.waiting, *partial]
        result = StreamResult(
            as_asked(stable, self._unknown_mode),
            as_asked(partial, self._unknown_mode),
            _joined(self._closed),
        )
        self._stable, self._closed = [], []
        return result

    def _add(self, ended: Iterable[PatchRun]) -> None:
        """Adds glosses that are stable, and judges them while their posteriors are remembered."""
        for run in ended:
            unknown = self._unknown and self._unknown.is_unknown(run.id, run.start, run.end)
            self._stable.append(Candidate(self._gloss(run), bool(unknown)))

    def _gloss(self, run: PatchRun) -> Gloss:
        patch_size = self._model.patch_size
        calibration = self._model.calibration
        span = align.spans_in_seconds(np.array(run.start), np.array(run.end), patch_size)
        start, end = calibration.times(span).tolist()
        sure = float(calibration.confidences(np.array(min(np.exp(run.log_prob), 1.0))))
        return Gloss(self._model.vocabulary.names[run.id], start, end, sure)


def _joined(sentences: Sequence[Transcript]) -> Transcript | None:
    """Joins the sentences that one push has closed into one; None without any."""
    if not sentences:
        return None
    glosses = [gloss for sentence in sentences for gloss in sentence.glosses]
    return Transcript(glosses, sum(sentence.score for sentence in sentences))

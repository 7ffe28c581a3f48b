"""Recognizes a camera, a video or keypoints at their own pace, and tells glosses as they come."""

import collections
import contextlib
import dataclasses
import enum
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.keypoints import camera, draw, joints, landmarker, native_libs, video
from wsign_jax.keypoints.camera import EveryItem, NewestItem
from wsign_jax.keypoints.extract import PICTURE_FPS
from wsign_jax.keypoints.landmarker import Detection, Landmarker
from wsign_jax.keypoints.picture_stream import PictureStream
from wsign_jax.keypoints.preview import PreviewWindow
from wsign_jax.keypoints.resample import MAX_GAP
from wsign_jax.keypoints.video import Picture
from wsign_jax.stream.printing import JsonPrinter, StreamSummary, TextPrinter
from wsign_jax.stream.stream import Stream, StreamResult
from wsign_jax.train.save_policy import Signals

_PATIENCE = 0.1  # seconds between two checks whether the user has stopped it
_REMEMBERED = 10_000  # latest pictures whose times are kept, so that hours take no more memory
_JUDGED = 10  # pictures by which a source's rate is judged
_PIECE = 4  # frames of a file of keypoints that come at once
_SHOWN_GLOSSES = 12  # in the window


class KeypointPiece(NamedTuple):
    """Some keypoints of a file."""

    time_s: float  # of the last frame
    features: np.ndarray  # (t, 42, 7)


Items: TypeAlias = EveryItem[Picture] | NewestItem[Picture] | EveryItem[KeypointPiece]
Events: TypeAlias = TextPrinter | JsonPrinter


class LiveSource(NamedTuple):
    """Where pictures or keypoints come from; reading begins when `items` is entered."""

    name: str  # as the user knows it
    items: Items
    has_pictures: bool
    is_camera: bool


class SessionEnd(enum.Enum):
    """Why a session is over."""

    FILE = "the end of the file"
    USER = "stopped by the user"
    GONE = "no more pictures come from the camera"


def open_source(name: str, simulate: bool = False, aspect: float = 0.0) -> LiveSource:
    """Opens a camera, a .npy of keypoints, or otherwise a video.

    A camera has a number, a device or an address, as OpenCV's VideoCapture takes them. `simulate` gives
    a video as a camera would, at the pace of its recording and without waiting for a slow reader, and
    keypoints at their pace. `aspect` is that of keypoints, as in `layout.aspect_of`.

    Raises:
        WSignError: the file is missing or bad, or `simulate` is given for a camera.
    """
    if name.isdecimal() or name.startswith("/dev/") or "://" in name:
        if simulate:
            raise WSignError(f"--simulate: camera {name} has a pace of its own; leave it out")
        pictures = camera.camera_pictures(int(name) if name.isdecimal() else name)
        return LiveSource(name, NewestItem(pictures), has_pictures=True, is_camera=True)
    path = pathlib.Path(name)
    if not path.exists():
        raise WSignError(f"{path}: no such file; give a camera's number, a video or a .npy")
    if path.suffix.lower() == ".npy":
        frames = _frames(layout.read_features(path, aspect))
        items = EveryItem(camera.at_recorded_pace(frames) if simulate else frames)
        return LiveSource(name, items, has_pictures=False, is_camera=False)
    pictures = video.read_ahead(video.read_pictures(path, PICTURE_FPS))
    # However long the video pauses, a file is never gone.
    opened = (
        NewestItem(camera.at_recorded_pace(pictures), math.inf) if simulate else EveryItem(pictures)
    )
    return LiveSource(name, opened, has_pictures=True, is_camera=False)


def _frames(features: np.ndarray) -> Generator[KeypointPiece, None, None]:
    for begin in range(0, len(features), _PIECE):
        piece = features[begin : begin + _PIECE]
        yield KeypointPiece((begin + len(piece) - 1) / joints.FPS, piece)


def recognize_live(
    stream: Stream,
    source: LiveSource,
    *,
    model: pathlib.Path | None = None,
    json: bool = False,
    show: bool = False,
) -> SessionEnd:
    """Recognizes a source until it ends or the user stops it, and prints the results.

    Raises:
        WSignError: the source is bad, or the screen or MediaPipe is missing. If the source was good for
            a while, what was recognized until then is finished and printed first.
    """
    with contextlib.ExitStack() as stack:
        window = stack.enter_context(PreviewWindow("WhisperSign-JAX")) if show else None
        hands = stack.enter_context(_landmarker(model)) if source.has_pictures else None
        events: Events = JsonPrinter() if json else TextPrinter()
        stack.enter_context(events)
        session = _Session(stream, source.items, hands, window, events)
        signals = stack.enter_context(Signals("finishing the sentence"))
        events.start(source.name, stream.chunk, stream.left_context)
        stack.enter_context(source.items)
        try:
            user = session.listen(signals)
        except (WSignError, OSError) as error:
            if session.has_begun:
                session.finish(str(error))
            raise
        end = SessionEnd.USER if user else SessionEnd.GONE if source.is_camera else SessionEnd.FILE
        session.finish(f"{source.name}: {end.value}")
        return end


@contextlib.contextmanager
def _landmarker(model: pathlib.Path | None) -> Iterator[Landmarker]:
    path = landmarker.find_model(model)
    # The first picture takes long and logs messages; here that is over before the source begins.
    with native_libs.hide_native_log():
        hands = Landmarker(path)
        hands.detect(np.zeros((240, 320, 3), np.uint8), 0.0)
    try:
        yield hands
    finally:
        with native_libs.hide_native_log(), hands:
            pass


class _Session:
    """Takes what a source gives, recognizes it and tells the events."""

    def __init__(
        self,
        stream: Stream,
        items: Items,
        hands: Landmarker | None,
        window: PreviewWindow | None,
        events: Events,
    ):
        self._stream, self._items, self._events = stream, items, events
        self._hands, self._window = hands, window
        self._count = self._out_of_order = 0
        self._first: float | None = None  # time of the first picture, or frame
        self._last = -float("inf")  # time of the last one
        self._began = self._ended = 0.0  # when the first came, and when the last was done
        self._waited: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._looked: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._chunks: collections.deque[tuple[float, float]] = collections.deque(maxlen=_REMEMBERED)
        self._gaps: collections.deque[float] = collections.deque(maxlen=_JUDGED)
        self._is_slow = self._has_found = False
        self._glosses: collections.deque[str] = collections.deque(maxlen=_SHOWN_GLOSSES)

    def listen(self, signals: Signals) -> bool:
        """Takes what comes until the source ends or the user stops it; returns true if the user did."""
        while signals.caught is None and not (self._window and self._window.closed):
            taken = self._items.take(_PATIENCE)
            if self._items.ended:
                return False
            if taken is None:
                continue
            item = taken.item
            if not item.time_s > self._last:
                self._out_of_order += 1
                continue
            if self._first is None:
                self._first, self._began = item.time_s, taken.at
            else:
                self._judge(item.time_s - self._last)
            self._last = item.time_s
            if isinstance(item, Picture):
                self._see(item, taken.at)
            else:
                self._read(item)
            self._ended = time.monotonic()
        return True

    def finish(self, why: str) -> None:
        """Finishes the sentence, and tells the summary."""
        self._tell(self._stream.finish())
        summary = StreamSummary(
            kind="pictures" if self._hands else "keypoint frames",
            count=self._count,
            seconds=self._seconds,
            took=self._ended - self._began,
            dropped=self._items.dropped,
            out_of_order=self._out_of_order,
            nan=self._stream.nan_frames,
            delays=self._delays() if self._count else {},
        )
        self._events.end(why, summary)

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._first is not None

    @property
    def _seconds(self) -> float:
        return 0.0 if self._first is None else self._last - self._first

    def _see(self, picture: Picture, came: float) -> None:
        assert self._hands is not None  # since there are pictures
        begin = time.monotonic()
        # At the first hand MediaPipe sets up one more network, and logs that.
        with contextlib.nullcontext() if self._has_found else native_libs.hide_native_log():
            detections = self._hands.detect(picture.image, picture.time_s)
        self._has_found |= bool(detections)
        self._waited.append(begin - came)
        self._looked.append(time.monotonic() - begin)
        self._count += 1
        result = self._push(detections, picture.time_s)
        if self._window:
            self._show(picture.image, draw.frame_of_detections(detections), result)

    def _read(self, frames: KeypointPiece) -> None:
        self._count += len(frames.features)
        result = self._push(frames.features)
        if self._window:
            shown = np.nan_to_num(frames.features[-1], posinf=0.0, neginf=0.0)
            self._show(draw.black_picture(shown[None]), shown, result)

    def _push(
        self, keypoints: np.ndarray | Sequence[Detection], time_s: float | None = None
    ) -> StreamResult:
        before = dataclasses.replace(self._stream.spent)
        result = self._stream.push(keypoints, time_s)
        spent = self._stream.spent
        if chunks := spent.chunks - before.chunks:
            model = spent.model_seconds - before.model_seconds
            decoding = spent.decoding_seconds - before.decoding_seconds
            self._chunks.append((model / chunks, decoding / chunks))
        self._tell(result)
        return result

    def _tell(self, result: StreamResult) -> None:
        self._glosses.extend(gloss.label for gloss in result.stable)
        self._events.tell(self._seconds, result)

    def _show(self, image: np.ndarray, hands: np.ndarray, result: StreamResult) -> None:
        assert self._window is not None
        partial = [f"{gloss.label}..." for gloss in result.partial]
        self._window.show(image, hands, [" ".join([*self._glosses, *partial])])

    def _judge(self, gap: float) -> None:
        """Warns once if pictures come so slowly that hands are lost between them."""
        self._gaps.append(gap)
        if len(self._gaps) < _JUDGED or self._is_slow:
            return
        usual = statistics.median(self._gaps)
        self._is_slow = usual > MAX_GAP
        if self._is_slow:
            print(
                f"warning: pictures come {usual:.2f} s apart, and a hand that is not seen for "
                f"{MAX_GAP:g} s counts as gone; next to nothing can be recognized",
                file=sys.stderr,
                flush=True,
            )

    def _delays(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile in milliseconds of each part of a gloss's delay."""
        stream, late = self._stream, PictureStream.delay if self._hands else 0.0
        longest = stream.delay - late - 1 / joints.FPS  # the wait of a chunk's first frame
        frames = len(stream.state.frames.confidence) - 1
        shortest = longest - (frames - 1) / joints.FPS  # the wait of its last
        parts: dict[str, Iterable[float]] = {}
        if self._hands:
            parts |= {"capture": self._waited, "landmarks": self._looked, "tracker": [late]}
        parts["chunk"] = [shortest, longest]
        if self._chunks:
            parts["model"], parts["decoding"] = zip(*self._chunks, strict=True)
        return {name: _median_and_most(seconds) for name, seconds in parts.items()}


def _median_and_most(seconds: Iterable[float]) -> tuple[float, float]:
    median, most = 1000 * np.quantile(np.fromiter(seconds, np.float64), (0.5, 0.95))
    return float(median), float(most)

"""Reads pictures and the times at which they were taken, from a video or a folder."""

import contextlib
import importlib
import os
import pathlib
import queue
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import native_libs
from wsign_jax.keypoints.resample import LONGEST, check_time

_VIDEOS = "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
_PICTURES = "bmp jpeg jpg png tif tiff webp"
VIDEO_SUFFIXES = frozenset(f".{kind}" for kind in _VIDEOS.split())
PICTURE_SUFFIXES = frozenset(f".{kind}" for kind in _PICTURES.split())

_AHEAD = 4  # decoded pictures that may wait
_MISSING_SHARE = 0.02  # of a video's pictures that may be missing without a warning
_MISSING_SECONDS = 0.5
_SHORTEST_REST = 1.0  # seconds of a damaged video that are worth having
_MOST_PIXELS = 2**26  # of a video's picture: twice 8K
_WIDEST_PIXEL = 16.0  # width / height of one pixel; more is damage
_HIGHEST_FPS = 1000.0  # of a folder of pictures


class Picture(NamedTuple):
    """One picture of a video."""

    time_s: float  # since the video's start
    image: np.ndarray  # (height, width, 3) uint8, RGB, upright


Pictures: TypeAlias = Generator[Picture, None, None]


def read_pictures(
    source: pathlib.Path,
    fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    box: tuple[float, float, float, float] | None = None,
    on_missing: Callable[[str], object] | None = None,
) -> Pictures:
    """Reads a video, or a folder of pictures in the order of the numbers in their names.

    A video has its own times, which increase but need not be regular; pictures whose time does not
    increase are left out. Pictures are turned as the file says, with square pixels. Pictures that an
    edit list hides, which is how a phone trims, are left out. If a file is cut off or damaged, the rest
    is read, if it is more than a second.

    Args:
        source: a video file or a folder.
        fps: pictures per second of a folder of pictures.
        start_s: the first second to take.
        end_s: where to stop, exclusive.
        box: y0, x0, y1, x1 of the part of the picture to cut out, as shares of its sides.
        on_missing: is told at the end what a damaged file lacks: '23 of its 58 pictures are missing'.
            None: a warning on stderr.

    Raises:
        WSignError: it cannot be read, has no pictures in that part, pauses for longer than an hour, or
            is longer than a day.
    """

    def tell(missing: str) -> None:
        if on_missing is None:
            print(f"warning: {source}: {missing}", file=sys.stderr, flush=True)
        else:
            on_missing(missing)

    start, end = start_s or 0.0, float("inf") if end_s is None else end_s
    pictures = _folder(source, fps) if source.is_dir() else _video(source, start, end, tell)
    last = -float("inf")
    found = False
    with contextlib.closing(pictures):
        for picture in pictures:
            if picture.time_s >= end:
                break
            if picture.time_s >= start and picture.time_s > last:
                _check_time(source, picture.time_s, last)
                found = True
                yield Picture(picture.time_s, cut_out(picture.image, box) if box else picture.image)
            last = max(last, picture.time_s)
    if not found:
        where = "" if start_s is None and end_s is None else f" from {start:g} s to {end:g} s"
        raise WSignError(f"{source}: has no pictures{where}; leave it out or replace it")


def _check_time(source: pathlib.Path, time_s: float, last: float) -> None:
    """Refuses times from which frames cannot be made; `last` is the previous picture's time."""
    if time_s > LONGEST:
        raise WSignError(f"{source}: has a picture at {time_s:.0f} s, over a day; cut it in pieces")
    try:
        check_time(time_s, last)
    except WSignError as error:
        raise WSignError(f"{source}: {error}") from None


def cut_out(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Returns the part of (height, width, 3) between y0, x0, y1, x1, which are shares of its sides.

    Raises:
        WSignError: the part is empty.
    """
    height, width = image.shape[:2]
    shares = np.clip(np.nan_to_num(np.array(box, np.float64)), 0.0, 1.0)
    y0, x0, y1, x1 = np.rint(shares * [height, width, height, width]).astype(int)
    if y1 <= y0 or x1 <= x0:
        raise WSignError(f"box {box} is empty; it is y0, x0, y1, x1 as shares of the picture")
    return np.ascontiguousarray(image[y0:y1, x0:x1])


def read_ahead(pictures: Pictures) -> Pictures:
    """Yields the same pictures, read on another thread while the last one is being worked on."""
    waiting: queue.Queue[Any] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Any) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        end: BaseException | None = None
        try:
            for picture in pictures:
                if not put(picture):
                    return
        except BaseException as error:
            end = error
        finally:
            pictures.close()
        put(end)

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while isinstance(item := waiting.get(), Picture):
            yield item
        if item is not None:
            raise item
    finally:
        stopped.set()
        thread.join()


# ---------------------------------------------------------------------------------------------- folders


def pictures_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the picture files of a folder, by the numbers in their names: 2 comes before 10."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if pathlib.PurePath(entry.name).suffix.lower() in PICTURE_SUFFIXES
            and not entry.name.startswith(".")
            and entry.is_file()
        ]
    return [folder / name for name in sorted(names, key=_natural)]


def is_recording(path: pathlib.Path) -> bool:
    """Whether a path is a video file or a folder of pictures, and not hidden."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return bool(pictures_in(path))
    return path.suffix.lower() in VIDEO_SUFFIXES


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-2, name)]


def _folder(folder: pathlib.Path, fps: float | None) -> Pictures:
    if fps is None or not 0 < fps <= _HIGHEST_FPS:
        raise WSignError(
            f"{folder}: pictures carry no times; say at how many fps they were taken, up to "
            f"{_HIGHEST_FPS:.0f}"
        )
    size: tuple[int, ...] | None = None
    for number, path in enumerate(pictures_in(folder)):
        image = _picture(path)
        if size not in (None, image.shape):
            raise WSignError(
                f"{path}: is {image.shape[1]}x{image.shape[0]}, those before it are not; "
                "a folder holds the pictures of one video"
            )
        size = image.shape
        yield Picture(number / fps, image)


def _picture(path: pathlib.Path) -> np.ndarray:
    """Reads a picture file as (height, width, 3) uint8 RGB."""
    cv2 = load_cv2()
    image, why = None, "damaged, or of another kind"
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        why = str(error.strerror)
    except cv2.error:  # no bytes, or more than 2^30 pixels
        why = "empty, or too large"
    if image is None:
        raise WSignError(f"{path}: is not a picture that can be read ({why}); replace it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


# ----------------------------------------------------------------------------------------------- videos


class _Tally:
    """Counts what has come from a video so far."""

    def __init__(self, stream: Any):
        self.step = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
        self.packets = self.discarded = self.damaged = self.pictures = 0
        self.first = self.last = 0.0  # times of pictures, seconds
        self.end = 0  # of the packets, in the stream's ticks
        self.error: Exception | None = None  # the last one

    def take(self, packet: Any) -> None:
        """Counts a packet that the demuxer gave."""
        if packet.pts is not None:
            self.end = max(self.end, packet.pts + (packet.duration or 0))
        self.packets += 1
        self.discarded += packet.is_discard

    def see(self, time_s: float) -> None:
        """Counts a picture."""
        self.first = time_s if not self.pictures else self.first
        self.last, self.pictures = time_s, self.pictures + 1


def _video(
    path: pathlib.Path, start: float, end: float, on_missing: Callable[[str], object]
) -> Pictures:
    av = load_av()
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            raise WSignError(f"{path}: is empty; copy or download it again")
    with _unreadable_named(path), _open(path) as container:
        if not container.streams.video:
            raise WSignError(f"{path}: has no video, only sound or other data; replace it")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise WSignError(f"{path}: is of a kind that FFmpeg does not know; convert it to H.264")
        # One thread, because extraction has a process for every core.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        offset = (container.start_time or 0) / av.time_base
        if start > 0:
            container.seek(int((start + offset) * av.time_base), backward=True)
        tally = _Tally(stream)
        for frame in _decoded(container, stream, tally):
            # A few old containers give no times; then the nominal rate is used.
            seconds = tally.last + tally.step
            if frame.pts is not None:
                seconds = float(frame.pts * stream.time_base) - offset
            tally.see(seconds)
            if seconds >= end:
                return
            if seconds >= start:
                yield Picture(seconds, _upright(frame, stream))
        if not tally.pictures and tally.error is not None:
            raise tally.error
        if start == 0 and tally.pictures and (missing := _missing(container, stream, tally)):
            if tally.last + tally.step - tally.first <= _SHORTEST_REST:
                raise WSignError(f"{path}: is cut off ({missing}); copy or download it again")
            on_missing(missing)


def _open(path: pathlib.Path) -> Any:
    av = load_av()
    # PyAV 18 refuses a title that is not UTF-8; 19 reads it, and no longer has the argument.
    tolerant = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    # Otherwise FFmpeg takes the name `10:30.mp4`, or a folder `http:`, for an address.
    return av.open(f"file:{path}", **tolerant)


def _decoded(container: Any, stream: Any, tally: _Tally) -> Iterator[Any]:
    """Yields the pictures of a stream.

    A damaged packet costs its own pictures; damage between packets costs all that follow.
    """
    broken = load_av().error.FFmpegError
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except broken as error:
            tally.error, packet = error, None
        if packet is not None and not packet.size:
            if packet.dts is not None:  # without a picture; decoding it would end the video
                continue
            packet = None
        if packet is not None:
            tally.take(packet)
        try:
            frames = stream.decode(packet)  # None gives those that are still in the decoder
        except broken as error:
            tally.error, tally.damaged, frames = error, tally.damaged + 1, []
        yield from frames
        if packet is None:
            return


def _missing(container: Any, stream: Any, tally: _Tally) -> str:
    """Returns what is missing of a video, or '' if it is complete.

    A file that was cut off often decodes without an error, up to where it ends.
    """
    if stream.frames:
        # An edit list hides packets: some come marked as discarded, some do not come at all.
        hidden = tally.discarded
        if stream.duration and tally.end >= (stream.start_time or 0) + stream.duration:
            hidden += max(stream.frames - tally.packets, 0)
        whole = stream.frames - hidden
    else:
        whole = tally.pictures + tally.damaged
    missing = whole - tally.pictures
    if missing > max(1, _MISSING_SHARE * whole):
        return f"{missing} of its {whole} pictures are missing"
    # Other streams may be longer than the video.
    if not stream.frames and len(container.streams) == 1 and container.duration is not None:
        declared, length = container.duration / load_av().time_base, tally.last + tally.step
        if declared - length > max(_MISSING_SECONDS, _MISSING_SHARE * declared):
            return f"it ends after {length:.1f} of {declared:.1f} s"
    return ""


def _upright(frame: Any, stream: Any) -> np.ndarray:
    """Returns a frame as a player shows it, (height, width, 3) RGB."""
    aspect = float(stream.sample_aspect_ratio or 1)  # of a pixel
    if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
        aspect = 1.0
    width = max(1, round(frame.width * aspect))
    image = frame.reformat(width=width, format="rgb24").to_ndarray()
    matrix = _display_matrix(frame)
    if matrix is None:
        return image
    a, b, c, d = matrix
    if a == d == 0:
        image = image.swapaxes(0, 1)
        a, d = c, b
    image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image)


def _display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """Returns a, b, c, d of x' = a x + c y, y' = b x + d y, or None if pictures are not turned."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()
    # Pictures turned by other angles than quarter turns are shown as they are stored.
    return (a, b, c, d) if (a == d == 0 and b and c) or (b == c == 0 and a and d) else None


@contextlib.contextmanager
def _unreadable_named(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except load_av().error.FFmpegError as error:
        raise WSignError(
            f"{path}: is not a video that can be read, or is damaged ({error.strerror}); replace it"
        ) from None


def load_av() -> Any:
    """Loads PyAV, which training does without; raises a `WSignError` if PyAV is not installed."""
    return _load("av")


def load_cv2() -> Any:
    """Loads OpenCV, which comes with MediaPipe.

    Raises:
        WSignError: OpenCV, or a system library that it needs, is not installed.
    """
    return _load("cv2")


def _load(name: str) -> Any:
    with native_libs.explain_missing_library():
        return importlib.import_module(name)

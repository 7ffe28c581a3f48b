"""Pictures with the times at which they were taken: from a video, a folder of pictures or a camera."""

import contextlib
import importlib
import pathlib
import queue
import re
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from wsign_jax.errors import WSignError
from wsign_jax.keypoints import system

_VIDEOS = "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
_PICTURES = "bmp jpeg jpg png tif tiff webp"
VIDEO_SUFFIXES = frozenset(f".{kind}" for kind in _VIDEOS.split())
PICTURE_SUFFIXES = frozenset(f".{kind}" for kind in _PICTURES.split())

_AHEAD = 4  # decoded pictures that may wait
_MISSING_SHARE = 0.02  # of a video's pictures that may be missing before it counts as cut off
_MISSING_SECONDS = 0.5


class Picture(NamedTuple):
    """One picture of a video."""

    time_s: float  # since the video's start
    image: np.ndarray  # (height, width, 3) uint8, RGB, upright


Pictures: TypeAlias = Generator[Picture, None, None]


def versions() -> dict[str, str]:
    """The version of PyAV, for the record."""
    return {"av": load_av().__version__}


def read(
    source: pathlib.Path,
    fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Pictures:
    """Reads a video, or a folder of pictures in the order of the numbers in their names.

    Videos have their own times, which increase but need not be regular; pictures whose time does not
    increase are left out. They are turned as the file says they are shown, with square pixels.

    Args:
        source: a video file or a folder.
        fps: of a folder of pictures.
        start_s: the first second to take.
        end_s: where to stop, exclusive.
        box: y0, x0, y1, x1 of the part of the picture to cut out, as shares of its sides.

    Raises:
        WSignError: it cannot be read to its end, or has no pictures there.
    """
    pictures = _folder(source, fps) if source.is_dir() else _video(source, start_s or 0.0, end_s)
    start, end = start_s or 0.0, float("inf") if end_s is None else end_s
    last = -float("inf")
    found = False
    with contextlib.closing(pictures):
        for picture in pictures:
            if picture.time_s >= end:
                break
            if picture.time_s >= start and picture.time_s > last:
                found = True
                yield Picture(picture.time_s, cut_out(picture.image, box) if box else picture.image)
            last = max(last, picture.time_s)
    if not found:
        where = "" if start_s is None and end_s is None else f" from {start:g} s to {end:g} s"
        raise WSignError(f"{source}: has no pictures{where}; leave it out or replace it")


def cut_out(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of (height, width, 3) between y0, x0, y1, x1, which are shares of its sides.

    Raises:
        WSignError: nothing is left.
    """
    height, width = image.shape[:2]
    shares = np.clip(np.nan_to_num(np.array(box, np.float64)), 0.0, 1.0)
    y0, x0, y1, x1 = np.rint(shares * [height, width, height, width]).astype(int)
    if y1 <= y0 or x1 <= x0:
        raise WSignError(f"box {box} is empty; it is y0, x0, y1, x1 as shares of the picture")
    return np.ascontiguousarray(image[y0:y1, x0:x1])


def ahead(pictures: Pictures) -> Pictures:
    """The same pictures, read on a thread of their own while the last one is being worked on."""
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


def camera(number: int | str) -> Pictures:
    """Pictures of a camera, as they come, until the reader stops or the camera ends.

    Args:
        number: of the camera, from 0; or anything else that OpenCV's VideoCapture opens.

    Raises:
        WSignError: it cannot be opened.
    """
    cv2 = load_cv2()
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise WSignError(f"camera {number} cannot be opened; is it there, and free?")
        began = time.monotonic()
        while True:
            taken, image = capture.read()
            if not taken:
                return
            yield Picture(time.monotonic() - began, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()


# ---------------------------------------------------------------------------------------------- folders


def pictures_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The picture files of a folder, by the numbers in their names: 2 comes before 10."""
    files = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    )
    return sorted(files, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-2, name)]


def _folder(folder: pathlib.Path, fps: float | None) -> Pictures:
    if fps is None or not fps > 0:
        raise WSignError(f"{folder}: pictures carry no times; say at how many fps they were taken")
    cv2 = load_cv2()
    size: tuple[int, ...] | None = None
    for number, path in enumerate(pictures_in(folder)):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise WSignError(f"{path}: is no picture that can be read, or is damaged; replace it")
        if size not in (None, image.shape):
            raise WSignError(
                f"{path}: is {image.shape[1]}x{image.shape[0]}, those before it are not; "
                "a folder holds the pictures of one video"
            )
        size = image.shape
        yield Picture(number / fps, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


# ----------------------------------------------------------------------------------------------- videos


def _video(path: pathlib.Path, start: float, end: float | None) -> Pictures:
    av = load_av()
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            raise WSignError(f"{path}: is empty; copy or download it again")
    with _unreadable_named(path), _open(path) as container:
        if not container.streams.video:
            raise WSignError(f"{path}: has no video, only sound or other data; replace it")
        stream = container.streams.video[0]
        # Extraction has a process for every core.
        stream.codec_context.thread_count = 1
        offset = (container.start_time or 0) / av.time_base
        if start > 0:
            container.seek(int((start + offset) * av.time_base), backward=True)
        count, last = 0, 0.0
        step = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
        for frame in container.decode(stream):
            # A few old containers give no time: then the nominal rate has to do.
            seconds = last + step if frame.time is None else frame.time - offset
            count, last = count + 1, seconds
            if end is not None and seconds >= end:
                return
            if seconds >= start:
                yield Picture(seconds, _upright(frame, stream))
        if start == 0:
            _check_whole(path, container, stream, count, last + step)


def _open(path: pathlib.Path) -> Any:
    try:
        return load_av().open(str(path))
    except UnicodeDecodeError:  # of a title, say; av 19 does not mind
        return load_av().open(str(path), metadata_errors="replace")


def _check_whole(
    path: pathlib.Path, container: Any, stream: Any, count: int, length: float
) -> None:
    """A file that was cut off often decodes without an error, up to where it ends."""
    if stream.frames:
        missing = stream.frames - count
        cut = missing > max(1, _MISSING_SHARE * stream.frames)
        said = f"{count} of its {stream.frames} pictures are there"
    else:
        # Other streams may be longer than the video.
        alone = len(container.streams) == 1 and container.duration is not None
        declared = container.duration / load_av().time_base if alone else 0.0
        cut = declared - length > max(_MISSING_SECONDS, _MISSING_SHARE * declared)
        said = f"it ends after {length:.1f} of {declared:.1f} s"
    if count and cut:
        raise WSignError(f"{path}: is cut off ({said}); copy or download it again")


def _upright(frame: Any, stream: Any) -> np.ndarray:
    """(height, width, 3) RGB as a player shows it."""
    aspect = float(stream.sample_aspect_ratio or 1)  # of a pixel
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
    """a, b, c, d of x' = a x + c y, y' = b x + d y, if the file says to turn its pictures."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()
    # Other angles than quarter turns are shown as they are stored.
    return (a, b, c, d) if (a == d == 0 and b and c) or (b == c == 0 and a and d) else None


@contextlib.contextmanager
def _unreadable_named(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except load_av().error.FFmpegError as error:
        raise WSignError(
            f"{path}: is no video that can be read, or is damaged ({error.strerror}); replace it"
        ) from None


def load_av() -> Any:
    """PyAV, which training does without.

    Raises:
        WSignError: it is not installed.
    """
    return _load("av")


def load_cv2() -> Any:
    """OpenCV, which comes with MediaPipe.

    Raises:
        WSignError: it, or a system library that it needs, is not installed.
    """
    return _load("cv2")


def _load(name: str) -> Any:
    with system.named():
        return importlib.import_module(name)

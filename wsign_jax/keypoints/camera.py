"""Sources that do not wait for a reader: a camera, or a file at the pace of its recording."""

import collections
import contextlib
import threading
import time
from collections.abc import Generator
from typing import Generic, NamedTuple, Protocol, TypeVar

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import video

# Pictures that may wait, as in a camera's driver. One slow step of the model then loses no picture, and
# a reader that is always too slow is late by no more than these.
_WAITING = 2
_STALLED = 5.0  # seconds without a picture after which a source counts as gone


class _Timed(Protocol):
    @property
    def time_s(self) -> float:
        """The time at which it was recorded, in seconds from the recording's start."""


Item = TypeVar("Item", bound=_Timed)


def at_recorded_pace(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Yields the same items at the pace at which they were recorded, none too early."""
    began = None
    with contextlib.closing(items):
        for item in items:
            began = time.monotonic() - item.time_s if began is None else began
            wait = began + item.time_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield item


def camera_pictures(number: int | str) -> video.Pictures:
    """Yields a camera's pictures as they come, until the reader stops or the camera ends.

    `number` is the camera's number, from 0, or anything else that OpenCV's VideoCapture opens.

    Raises:
        WSignError: it cannot be opened.
    """
    cv2 = video.load_cv2()
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
            yield video.Picture(time.monotonic() - began, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()


class TakenItem(NamedTuple, Generic[Item]):
    """An item that a source gave, and when it came."""

    item: Item
    at: float  # by time.monotonic()


class EveryItem(Generic[Item]):
    """A source that waits for its reader, so that the reader misses nothing."""

    dropped = 0

    def __init__(self, items: Generator[Item, None, None]):
        """Reads nothing yet."""
        self.ended = False
        self._items = items

    def __enter__(self) -> "EveryItem[Item]":
        return self

    def __exit__(self, *exception: object) -> None:
        self._items.close()

    def take(self, seconds: float) -> TakenItem[Item] | None:
        """Returns the next item, however long it takes, or None after the last."""
        del seconds
        item = next(self._items, None)
        self.ended = item is None
        return None if item is None else TakenItem(item, time.monotonic())


class NewestItem(Generic[Item]):
    """A source that is read on its own thread; a reader that is too slow misses the older pictures.

    A context manager: entering it starts the thread, leaving it stops the thread.
    """

    def __init__(self, items: Generator[Item, None, None], stalled: float = _STALLED):
        """Reads nothing yet; after `stalled` seconds without an item the source counts as ended."""
        self.dropped = 0  # items that nobody took in time
        self.ended = False  # whether the source is at its end and all that came was taken
        self._items = items
        self._stalled = stalled
        self._waiting: collections.deque[TakenItem[Item]] = collections.deque()
        self._changed = threading.Condition()
        self._stopped = self._done = False
        self._error: BaseException | None = None
        self._last = 0.0  # when the source last gave an item, by time.monotonic()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def __enter__(self) -> "NewestItem[Item]":
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped = True
        self._thread.join(timeout=1.0)  # a camera that is gone may block forever

    def take(self, seconds: float) -> TakenItem[Item] | None:
        """Returns the oldest item that waits, or None if none comes within `seconds`.

        Raises:
            BaseException: the source's own error, once the items before it are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._done, timeout=seconds)
            if self._waiting:
                return self._waiting.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                self.ended = True
                raise error
            self.ended = self._done or time.monotonic() - self._last > self._stalled
            return None

    def _read(self) -> None:
        try:
            for item in self._items:
                if self._stopped:
                    break
                self._put(TakenItem(item, time.monotonic()))
        except BaseException as error:
            self._error = error
        finally:
            self._items.close()
            with self._changed:
                self._done = True
                self._changed.notify()

    def _put(self, taken: TakenItem[Item]) -> None:
        with self._changed:
            self._last = taken.at
            self._waiting.append(taken)
            if len(self._waiting) > _WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify()

"""Sources that do not wait: a camera, or a file at the pace at which it was recorded."""

import collections
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, TypeVar

from wsign_jax.keypoints.video import Picture, Pictures

# Pictures that may wait, as in a camera's driver: a step of the model on one picture costs no other,
# and whoever is always too slow is late by no more than these.
_WAITING = 2
_STALLED = 5.0  # seconds without a picture after which a source is gone


class _Timed(Protocol):
    @property
    def time_s(self) -> float:
        """When it was recorded, from the recording's start."""


Item = TypeVar("Item", bound=_Timed)


def paced(items: Iterable[Item], clock: Callable[[], float] = time.monotonic) -> Iterator[Item]:
    """The same items, each no earlier after the first was asked for than it was recorded.

    Args:
        items: of a file, in the order of their times.
        clock: seconds, for tests.
    """
    began = None
    for item in items:
        began = clock() - item.time_s if began is None else began
        wait = began + item.time_s - clock()
        if wait > 0:
            time.sleep(wait)
        yield item


class Taken(NamedTuple):
    """A picture, and when it came."""

    picture: Picture
    at: float  # of time.monotonic()


class Newest:
    """A source that is read on a thread of its own: a reader that is too slow misses the older pictures.

    A context; leaving it stops the thread.
    """

    def __init__(self, pictures: Pictures, stalled: float = _STALLED):
        """Starts reading.

        Args:
            pictures: the source.
            stalled: seconds without a picture after which it counts as ended.
        """
        self.dropped = 0  # pictures that nobody took
        self.ended = False  # and all that came was taken
        self._pictures = pictures
        self._stalled = stalled
        self._waiting: collections.deque[Taken] = collections.deque()
        self._changed = threading.Condition()
        self._stopped = self._done = False
        self._error: BaseException | None = None
        self._last = time.monotonic()  # when the source gave something
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Newest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._thread.join(timeout=1.0)  # a camera that is gone may block for ever

    def take(self, seconds: float) -> Taken | None:
        """The oldest picture that is waiting; None where none comes within so many seconds.

        Raises:
            BaseException: what the source has raised, once the pictures before it are taken.
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
            for picture in self._pictures:
                if self._stopped:
                    break
                self._put(Taken(picture, time.monotonic()))
        except BaseException as error:
            self._error = error
        finally:
            self._pictures.close()
            with self._changed:
                self._done = True
                self._changed.notify()

    def _put(self, taken: Taken) -> None:
        with self._changed:
            self._last = taken.at
            self._waiting.append(taken)
            if len(self._waiting) > _WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify()

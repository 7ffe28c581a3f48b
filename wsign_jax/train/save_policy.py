"""Decides when to save and when to stop, by steps, minutes and signals, alike in all processes."""

import contextlib
import enum
import errno
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from wsign_jax.common.errors import discard_output

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
READER_GONE = signal.SIGPIPE.name  # treated like a signal: nobody reads the output any more
_SHOW_CURSOR = b"\x1b[?25h"


class Due(enum.IntEnum):
    """The action that is due after a step; a larger one includes the smaller."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


class Signals:
    """A context in which SIGTERM, SIGINT and SIGHUP ask to stop instead of ending the process.

    A second SIGINT, or a SIGINT after another signal, ends the process at once, whatever it is doing.
    If SIGHUP is ignored, as under nohup, it stays ignored.
    """

    def __init__(self, doing: str = "saving after this step"):
        """Catches nothing yet; `doing` tells the user what happens after a signal."""
        self.caught: str | None = None  # the first signal's name
        self._doing = doing
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        # Python lets only the main thread set handlers; other threads leave signals to their owner.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if number is not signal.SIGHUP or before is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        del frame
        # The kernel's own default, since Python's handlers wait for whatever the devices are doing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.ask(signal.Signals(number).name)

    def ask(self, name: str) -> None:
        """Asks to stop because of the signal `name`, unless another one has come before."""
        if self.caught is not None:
            return
        self.caught = name
        with contextlib.suppress(OSError):  # the terminal may be gone
            # Not print(): the signal may have come in the middle of one.
            if sys.stdout.isatty():
                os.write(1, _SHOW_CURSOR)  # a progress bar hid it
            os.write(2, f"\n{name}: {self._doing}; Ctrl-C stops at once\n".encode())


@contextlib.contextmanager
def outlive_reader(signals: Signals) -> Iterator[None]:
    """A context in which prints that nobody reads any more ask to stop instead of raising.

    They ask as `READER_GONE`; after that, prints go nowhere.
    """
    if sys.stdout is None:
        yield
        return
    output = _Output(sys.stdout, lambda: signals.ask(READER_GONE))
    with contextlib.redirect_stdout(cast(TextIO, output)):
        yield


class _Output:
    """A stream that calls `gone` when it is written to and its pipe or terminal is closed."""

    def __init__(self, stream: TextIO, gone: Callable[[], None]):
        self._stream, self._gone = stream, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._noticing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._noticing():
            self._stream.flush()

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            discard_output(self._stream)
            self._gone()


class SaveSchedule:
    """Says after every step what is due; every process of a run gets the same answer.

    Each process has wishes of its own, from its clock and its signals. A wish becomes due for all
    processes once all have heard of it: the devices reduce the wishes of a step, and the result is
    read after the following step, so that no process waits for another.
    """

    def __init__(self, config: ConfigDict, mesh: Mesh, signals: Signals):
        """Starts to count the minutes until a save; `config` is `config.checkpoint`."""
        self._config = config
        self._signals = signals
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._heard: jax.Array | None = None
        self._saved_at = time.monotonic()
        self._just_saved = False

    def __call__(self, step: int) -> Due:
        """Returns what is due after a step, counted from 1; must be called once per step."""
        wish = Due.NOTHING
        if time.monotonic() - self._saved_at >= 60 * self._config.every_minutes:
            wish = Due.SAVE
        if self._signals.caught is not None:
            wish = Due.STOP
        agreed = wish if jax.process_count() == 1 else self._agree(wish)
        if agreed is Due.SAVE and self._just_saved:
            agreed = Due.NOTHING  # the wish is older than that save
        self._just_saved = False
        by_steps = Due.SAVE if step % self._config.every_steps == 0 else Due.NOTHING
        return max(agreed, by_steps)

    @property
    def stopping(self) -> bool:
        """Whether a signal has come, for use between stages; only a lone process knows at once."""
        return jax.process_count() == 1 and self._signals.caught is not None

    def save_soon(self) -> None:
        """Makes a save due, however recent the last one is."""
        self._saved_at = -math.inf

    def saved(self) -> None:
        """Notes that a checkpoint was written now."""
        self._saved_at = time.monotonic()
        self._just_saved = True

    def _agree(self, wish: Due) -> Due:
        """Returns the largest wish of all processes at the step before."""
        heard = Due.NOTHING if self._heard is None else Due(int(jax.device_get(self._heard)))
        own = np.full(jax.local_device_count(), wish, np.int32)
        self._heard = self._largest(jax.make_array_from_process_local_data(self._rows, own))
        return heard

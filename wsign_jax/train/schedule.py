"""When to save and when to stop: by steps, by minutes, and by signals; alike in all processes."""

import contextlib
import enum
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SHOW_CURSOR = b"\x1b[?25h"


class Due(enum.IntEnum):
    """What is to be done after a step; a larger one includes the smaller."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


class Signals:
    """A context in which SIGTERM, SIGINT and SIGHUP (of a closed terminal) ask to stop, no more.

    The second SIGINT, or one after another of these, ends the process at once, whatever it is doing.
    """

    def __init__(self, doing: str = "saving after this step"):
        """Catches none yet.

        Args:
            doing: what the user is told is done now.
        """
        self.caught: str | None = None  # the first signal's name
        self._doing = doing
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        # Python lets only the main thread set handlers; elsewhere signals are its owner's affair.
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._catch)
                for number in _SIGNALS
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _catch(self, number: int, frame: FrameType | None) -> None:
        del frame
        # The kernel's own default, since Python's handlers wait for whatever the devices are at.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.caught is not None:
            return
        self.caught = signal.Signals(number).name
        # Not print(): the signal may have come in the middle of one.
        with contextlib.suppress(OSError):  # of a terminal that is closed
            if sys.stdout.isatty():
                os.write(1, _SHOW_CURSOR)  # which a progress bar hid
            os.write(2, f"\n{self.caught}: {self._doing}; Ctrl-C stops at once\n".encode())


class Schedule:
    """Says after every step what is due; every process of a run gets the same answer.

    What a process wishes on its own (its clock, its signals) becomes due for all when all have heard
    of it: the wishes of a step are reduced on the devices and read after the step that follows, so
    that nobody waits for anybody.
    """

    def __init__(self, config: ConfigDict, mesh: Mesh, signals: Signals):
        """Starts counting.

        Args:
            config: `config.checkpoint`.
            mesh: over the devices of all processes.
            signals: what asks to stop.
        """
        self._config = config
        self._signals = signals
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._heard: jax.Array | None = None
        self._saved_at = time.monotonic()
        self._just_saved = False

    def __call__(self, step: int) -> Due:
        """What is due now that a step, counted from 1, is done; to be asked once a step."""
        wish = Due.NOTHING
        if time.monotonic() - self._saved_at >= 60 * self._config.every_minutes:
            wish = Due.SAVE
        if self._signals.caught is not None:
            wish = Due.STOP
        agreed = wish if jax.process_count() == 1 else self._agree(wish)
        if agreed is Due.SAVE and self._just_saved:
            agreed = Due.NOTHING  # the wish is from before that
        self._just_saved = False
        by_steps = Due.SAVE if step % self._config.every_steps == 0 else Due.NOTHING
        return max(agreed, by_steps)

    @property
    def stopping(self) -> bool:
        """Whether a signal has come, to ask between stages; only a lone process knows at once."""
        return jax.process_count() == 1 and self._signals.caught is not None

    def saved(self) -> None:
        """Notes that a checkpoint was written now."""
        self._saved_at = time.monotonic()
        self._just_saved = True

    def _agree(self, wish: Due) -> Due:
        """The largest wish of all processes at the step before."""
        heard = Due.NOTHING if self._heard is None else Due(int(jax.device_get(self._heard)))
        own = np.full(jax.local_device_count(), wish, np.int32)
        self._heard = self._largest(jax.make_array_from_process_local_data(self._rows, own))
        return heard

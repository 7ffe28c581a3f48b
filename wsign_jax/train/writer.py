"""Logs: TensorBoard scalars, and the same as JSON lines."""

import collections
import contextlib
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from wsign_jax import disk, hosts
from wsign_jax.errors import WSignError

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"  # in a run's folder


class MetricsWriter:
    """Writes `<workdir>/metrics.jsonl` and `<workdir>/tensorboard`, continuing an earlier run's."""

    def __init__(self, workdir: pathlib.Path, step: int):
        """Opens the logs for steps after `step`; what an earlier run logged beyond it is dropped,
        because those steps are about to be run again.

        Raises:
            WSignError: they cannot be written.
        """
        self._workdir = workdir
        self._silent = not hosts.is_first()  # of several processes, who all have the same to write
        if self._silent:
            return
        with self._a_full_disk_named():
            board = workdir / TENSORBOARD
            board.mkdir(parents=True, exist_ok=True)
            path = workdir / METRICS
            if path.exists():
                _keep_until(path, step)
            self._lines = path.open("a", encoding="utf-8")
            # tensorboardX's SummaryWriter writes on a thread, and a killed process loses what waits
            # there: these go straight to the file, whose name would do for one start a second.
            self._events = EventsWriter(str(board / "events"), f".{time.time_ns()}")
            again = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(wall_time=time.time(), step=step + 1, session_log=again))

    def write(self, stage: str, step: int, scalars: Mapping[str, float]) -> None:
        """Logs scalars at a global step; floats keep their full precision.

        Raises:
            WSignError: the disk is full or gone.
        """
        if self._silent:
            return
        values = {name: float(value) for name, value in scalars.items()}
        # JSON has no NaN and no infinity (the gradient of a float16 step that overflowed has).
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        with self._a_full_disk_named():
            self._lines.write(json.dumps({"stage": stage, "step": step, **finite}) + "\n")
            self._lines.flush()
            for name, value in values.items():
                summary = scalar(name, value)
                self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Puts all that was logged on the disk, where a killed process cannot lose it.

        Raises:
            WSignError: the disk is full or gone.
        """
        if self._silent:
            return
        with self._a_full_disk_named():
            self._lines.flush()
            os.fsync(self._lines.fileno())
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes both."""
        if self._silent:
            return
        with self._a_full_disk_named():
            self._lines.close()
            self._events.close()

    @contextlib.contextmanager
    def _a_full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WSignError(
                f"{error.filename or self._workdir}: the logs cannot be written ({error.strerror}); "
                "make room or whatever they lack, and the same command goes on from the last checkpoint"
            ) from error


def _keep_until(path: pathlib.Path, step: int) -> None:
    """Drops the lines of later steps, and a torn last line, through a temporary name.

    Where other lines cannot be read, the file as it was stays beside it.
    """
    kept = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                damaged = path.with_name(f"{path.name}.damaged")
                print(f"warning: {path}: line {number} is damaged; kept as {damaged}", flush=True)
                shutil.copyfile(path, damaged)
    disk.write(path, "".join(kept).encode())


class Pace:
    """Frames per second over the last steps. A single step tells little: when the host comes to read its
    metrics depends on what the devices did in the meantime."""

    def __init__(self, steps: int = 20):
        """Averages over up to `steps` steps, counting from now."""
        self._laps: collections.deque[tuple[float, float]] = collections.deque(maxlen=steps)
        self._began = time.monotonic()

    def step(self, frames: float) -> float:
        """Counts a step that is done; returns frames per second."""
        now = time.monotonic()
        self._laps.append((now - self._began, frames))
        self._began = now
        seconds, counted = map(sum, zip(*self._laps, strict=True))
        return counted / seconds

    def leave_out(self) -> None:
        """Leaves out the time since the last step: it went into something else."""
        self._began = time.monotonic()

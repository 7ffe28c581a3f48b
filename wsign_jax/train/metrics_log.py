"""Logs: JSON lines, and TensorBoard's scalars, pictures and texts."""

import collections
import contextlib
import json
import math
import os
import pathlib
import shutil
import struct
import time
from collections.abc import Iterable, Iterator, Mapping

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, scalar, text

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, printable
from wsign_jax.runtime import multihost
from wsign_jax.train.checkpoint.workdir import DROPPED, METRICS, TENSORBOARD

_RGBA = 4  # channels of a PNG from matplotlib


class MetricsWriter:
    """Writes `<workdir>/metrics.jsonl` and `<workdir>/tensorboard`, continuing an earlier run's."""

    def __init__(self, workdir: pathlib.Path, step: int):
        """Opens the logs for steps after `step`.

        Lines that an earlier run logged for those steps move to `<workdir>/metrics.dropped.jsonl`,
        because the steps are about to be run again.

        Raises:
            WSignError: they cannot be written.
        """
        self._workdir = workdir
        # All processes have the same to write, so only the first one writes.
        self._silent = not multihost.is_first()
        if self._silent:
            return
        with self._a_full_disk_named():
            board = workdir / TENSORBOARD
            board.mkdir(parents=True, exist_ok=True)
            path = workdir / METRICS
            if path.exists():
                _keep_until(path, step)
            self._lines = path.open("a", encoding="utf-8")
            # tensorboardX's SummaryWriter writes on a thread. If the disk is full, that thread ends, and
            # the run waits forever for room in its queue. EventsWriter writes straight to the file. The
            # time is added to its name, which would otherwise be the same for two starts in one second.
            self._events = EventsWriter(str(board / "events"), f".{time.time_ns()}")
            again = SessionLog(status=SessionLog.START)
            # Entries about the whole run have step 0. They are written again only if it starts over.
            after = step + 1 if step else 0
            self._events.write_event(Event(wall_time=time.time(), step=after, session_log=again))

    def write(self, stage: str, step: int, scalars: Mapping[str, float]) -> None:
        """Logs scalars at a global step; floats keep their full precision.

        Raises:
            WSignError: the disk is full or gone.
        """
        if self._silent:
            return
        values = {name: float(value) for name, value in scalars.items()}
        # JSON has neither NaN nor infinity, but the gradient of a float16 step that overflowed has.
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        with self._a_full_disk_named():
            self._lines.write(json.dumps({"stage": stage, "step": step, **finite}) + "\n")
            self._lines.flush()
            self._write_events(step, (scalar(name, value) for name, value in values.items()))

    def picture(self, step: int, tag: str, png: bytes) -> None:
        """Shows a PNG in TensorBoard; raises as `write` does."""
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(
            width=width, height=height, colorspace=_RGBA, encoded_image_string=png
        )
        self._show(step, [Summary(value=[Summary.Value(tag=tag, image=image)])])

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Shows a text in TensorBoard; raises as `write` does."""
        self._show(step, [text(tag, markdown)])

    def hyperparameters(
        self, step: int, values: Mapping[str, object], scalars: Iterable[str]
    ) -> None:
        """Shows the values to compare runs by and the scalars to compare; raises as `write` does."""
        kept = (bool, int, float)
        plain = {n: v if isinstance(v, kept) else printable(str(v)) for n, v in values.items()}
        self._show(step, hparams(plain, dict.fromkeys(scalars, 0.0)))

    def _show(self, step: int, summaries: Iterable[Summary]) -> None:
        if self._silent:
            return
        with self._a_full_disk_named():
            self._write_events(step, summaries)

    def _write_events(self, step: int, summaries: Iterable[Summary]) -> None:
        for summary in summaries:
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
        """Flushes and closes both logs."""
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
    """Moves the lines of later steps to another file, and drops a torn last line.

    If another line cannot be read, a copy of the file as it was stays beside it.
    """
    kept: list[str] = []
    dropped: list[str] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            (kept if json.loads(line)["step"] <= step else dropped).append(line + "\n")
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                damaged = path.with_name(f"{path.name}.damaged")
                print(f"warning: {path}: line {number} is damaged; kept as {damaged}", flush=True)
                shutil.copyfile(path, damaged)
    if dropped:  # written first: a kill in between repeats lines, but loses none
        with path.with_name(DROPPED).open("a", encoding="utf-8") as file:
            file.writelines(dropped)
    files.write(path, "".join(kept).encode())


class Pace:
    """Frames per second over the last steps.

    A single step tells little: when the host reads its metrics depends on what the devices did in the
    meantime.
    """

    def __init__(self, steps: int = 20):
        """Averages over up to `steps` steps, counting from now."""
        self._laps: collections.deque[tuple[float, float]] = collections.deque(maxlen=steps)
        self._began = time.monotonic()

    def step(self, frames: float) -> float:
        """Counts a step that is done, and returns the average of frames per second."""
        now = time.monotonic()
        self._laps.append((now - self._began, frames))
        self._began = now
        seconds, counted = map(sum, zip(*self._laps, strict=True))
        return counted / seconds

    def leave_out(self) -> None:
        """Leaves out the time since the last step, because it went into something else."""
        self._began = time.monotonic()

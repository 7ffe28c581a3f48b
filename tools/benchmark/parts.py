"""Runs the parts of the benchmark, each in a process of its own."""

import contextlib
import dataclasses
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from tools.benchmark.figures import Figures
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError

PARTS = (
    "loader",
    "step",
    "epoch",
    "cold_start",
    "peer",
    "decode",
    "stream",
    "extract",
    "recognize",
    "checkpoint",
)
PACKAGE = "tools.benchmark"

_BAD_FLAGS = 2  # argparse's exit status

# A line that says what went wrong: this project's, argparse's, or the end of a traceback.
_COMPLAINT = re.compile(r"(?:\S+: )?error: (.*)|([\w.]*(?:Error|Exception): .*)")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a part."""

    seconds: float  # that it took
    figures: Figures
    failure: str | None  # why it failed; None if it did not


def run(name: str, flags: Sequence[str]) -> Outcome:
    """Runs one of `PARTS` with flags that `check` has seen; what it prints passes through."""
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder) / "figures.json"
        command = [*_command(name, flags), f"--json={found}"]
        began = time.perf_counter()
        process = None
        try:
            with _interrupted_later():
                process = subprocess.Popen(
                    command, stderr=subprocess.PIPE, text=True, errors="replace"
                )
            with process:
                complaint = _pass_on_stderr(process)
        except BaseException:  # it would go on by itself, and spoil what is measured next
            if process is not None:
                process.terminate()
                process.wait()
            raise
        seconds = time.perf_counter() - began
        if process.returncode:
            # Here its flags have the part's name before them.
            complaint = re.sub(r"--(?=\w+=)", f"--{name}.", complaint)
            return Outcome(seconds, {}, complaint or _end(process.returncode))
        if not found.exists():
            return Outcome(seconds, {}, "it wrote no figures")
        return Outcome(seconds, files.read_json(found), None)


def check(name: str, flags: Sequence[str]) -> None:
    """Raises a `WSignError` if a part does not take such flags; measures nothing."""
    command = [*_command(name, flags), "--check"]
    process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if process.returncode == _BAD_FLAGS:  # anything else the part says itself, when its turn comes
        found = [
            complaint for line in process.stderr.splitlines() if (complaint := _complaint(line))
        ]
        said = [_end(process.returncode), *found][-1]
        said = said.removeprefix("in the command line: ").removesuffix("; see --help")
        said = re.sub(r"(?<!\S)--(?=\w)", f"--{name}.", said)
        raise WSignError(f"in the command line: {name}: {said}")


def _command(name: str, flags: Sequence[str]) -> list[str]:
    return [sys.executable, "-u", "-m", f"{PACKAGE}.{name}", *flags]


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Holds interrupts back until the end, when a process that has begun is known."""
    came: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, lambda number, _: came.append(number)) for stop in stops}
    try:
        yield
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
    for number in came:
        signal.raise_signal(number)


def _pass_on_stderr(process: subprocess.Popen[str]) -> str:
    """Passes on what a process writes to stderr until it ends; returns its last complaint."""
    assert process.stderr is not None
    complaint = ""
    for line in process.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        complaint = _complaint(line) or complaint
    return complaint


def _complaint(line: str) -> str:
    """Returns the error that a line tells; '' if it tells none."""
    match = _COMPLAINT.match(line)
    return (match[1] or match[2]) if match else ""


def _end(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"

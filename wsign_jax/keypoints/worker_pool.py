"""Runs tasks in worker processes, so that a bad task stops no other.

Each worker is a fresh interpreter that does one task at a time. If a worker dies, only its task fails,
and a new worker replaces it. If the parent dies, however it does, its workers die at once.
"""

import collections
import contextlib
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import native_libs


class Outcome(NamedTuple):
    """The result of a task."""

    task: int  # its place in the order
    value: Any  # what the function returned, None if it failed
    problem: str | None  # why it failed, in one line


def cores() -> int:
    """Counts the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int
) -> Generator[Outcome, None, None]:
    """Calls `function(*task)` in worker processes for every task, and yields outcomes when ready.

    Args:
        function: must be at a module's top level.
        tasks: arguments; they and the results travel as pickles.
        workers: number of processes.
    """
    waiting = collections.deque(enumerate(tasks))
    running: dict[multiprocessing.connection.Connection, _Worker] = {}
    named = (function.__module__, function.__qualname__)

    def give(worker: _Worker) -> None:
        if waiting:
            worker.task, arguments = waiting.popleft()
            running[worker.pipe] = worker
            # A worker that died in the meantime is noticed when its answer is awaited.
            with contextlib.suppress(BrokenPipeError):
                worker.pipe.send((*named, arguments))
        else:
            worker.close()

    try:
        for _ in range(min(workers, len(tasks))):
            give(_Worker())
        while running:
            for pipe in multiprocessing.connection.wait(list(running)):
                worker = running.pop(pipe)  # type: ignore[call-overload]
                try:
                    value, problem = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    yield Outcome(worker.task, None, worker.cause_of_death())
                    worker.close()
                    if waiting:
                        give(_Worker())
                    continue
                # Give the next task first, so that the worker need not wait until this result is used.
                task = worker.task
                give(worker)
                yield Outcome(task, value, problem)
    finally:
        for worker in running.values():
            worker.process.terminate()
            worker.close()


class _Worker:
    """The parent's end of a worker process."""

    task = -1

    def __init__(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        # The output of native code is read only when it matters: when the process is gone.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.PIPE,  # never written to; it ends when the parent ends
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        )
        theirs.close()

    def cause_of_death(self) -> str:
        """Says in one line why the process died."""
        status = self.process.wait()
        with contextlib.suppress(ValueError):
            if status < 0:
                return f"its process was ended by {signal.Signals(-status).name}{self._last()}"
        return f"its process ended with status {status}{self._last()}"

    def _last(self) -> str:
        lines = self._complaints()
        return f" ({lines[-1]})" if lines else ""

    def _complaints(self) -> list[str]:
        self._log.seek(0)
        return native_libs.complaints(self._log.read())

    def close(self) -> None:
        """Lets the process end, and prints its complaints."""
        self.pipe.close()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for line in dict.fromkeys(self._complaints()):
            print(line, file=sys.stderr, flush=True)
        self._log.close()


def main() -> None:
    """Runs a worker: takes tasks from the pipe with the given descriptor until it is closed."""
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    pipe = multiprocessing.connection.Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            module, name, arguments = pipe.recv()
            answer: tuple[Any, str | None]
            try:
                answer = getattr(importlib.import_module(module), name)(*arguments), None
            except WSignError as error:
                answer = None, " ".join(str(error).split())
            except Exception as error:
                traceback.print_exc()
                answer = None, " ".join(f"{type(error).__name__}: {error}".split())
            pipe.send(answer)


def _die_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()

"""Runs tasks in worker processes, so that a bad task stops no other.

Each worker is a fresh interpreter that does one task at a time. If a worker dies, only its task fails,
and a new worker replaces it. If the parent dies, however it does, its workers die at once.
"""

import collections
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import native_libs

_SPAWN = multiprocessing.get_context("spawn")


class Outcome(NamedTuple):
    """The result of a task."""

    task: int  # its place in the order
    value: Any  # what the function returned, None if it failed
    problem: str | None  # why it failed, in one line


def count_cores() -> int:
    """Counts the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_workers(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int
) -> Generator[Outcome, None, None]:
    """Calls `function(*task)` in worker processes for every task, and yields outcomes when ready.

    The function must be at a module's top level; arguments and results travel as pickles.
    """
    waiting = collections.deque(enumerate(tasks))
    running: dict[Any, _Worker] = {}

    def give(worker: _Worker | None) -> None:
        if waiting:
            worker = worker or _Worker()
            running[worker.pipe] = worker
            worker.task, arguments = waiting.popleft()
            # A worker that died in the meantime is noticed when its answer is awaited.
            with contextlib.suppress(BrokenPipeError):
                worker.pipe.send((function, arguments))
        elif worker:
            worker.end()

    try:
        for _ in range(workers):
            give(None)
        while running:
            for pipe in multiprocessing.connection.wait(list(running)):
                worker = running.pop(pipe)
                task = worker.task
                # Give the next task first, so that the worker need not wait until this result is used.
                try:
                    value, problem = worker.pipe.recv()
                    give(worker)
                except (EOFError, ConnectionResetError):
                    value, problem = None, worker.end()
                    give(None)
                yield Outcome(task, value, problem)
    finally:
        for worker in running.values():
            worker.process.terminate()
            worker.end()


class _Worker:
    """The parent's end of a worker process."""

    task = -1

    def __init__(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        # The output of native code is read only when it matters: when the process is gone.
        descriptor, log = tempfile.mkstemp()
        self._log = open(descriptor, "rb")  # noqa: SIM115
        self.process = _SPAWN.Process(target=_work, args=(theirs, log), daemon=True)
        # The worker would import the script that runs here, which may need no guard and much time.
        script, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
        try:
            self.process.start()
        finally:
            sys.modules["__main__"] = script
        theirs.close()

    def end(self) -> str:
        """Lets the process end, prints its complaints, and says in one line how it ended."""
        self.pipe.close()
        self.process.join()
        with self._log as log:
            complaints = native_libs.log_complaints(log.read())
        for line in dict.fromkeys(complaints):
            print(line, file=sys.stderr, flush=True)
        status = self.process.exitcode or 0
        how = f"by a signal: {signal.strsignal(-status)}" if status < 0 else f"with status {status}"
        return f"its process ended {how}" + "".join(f" ({line})" for line in complaints[-1:])


def _work(pipe: Connection, log: str) -> None:
    """Does the tasks from a pipe until it is closed."""
    with open(log, "ab") as file:
        os.unlink(log)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            function, arguments = pipe.recv()
            answer: tuple[Any, str | None]
            try:
                answer = function(*arguments), None
            except WSignError as error:
                answer = None, " ".join(str(error).split())
            except Exception as error:
                traceback.print_exc()
                answer = None, " ".join(f"{type(error).__name__}: {error}".split())
            pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

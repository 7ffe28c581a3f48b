"""Compiles programs ahead: in the background, in the order in which a run will need them.

Compiling a base-size training step takes 10 to 15 seconds on a CPU, once for every bucket. Training
waits for the first bucket's program only. The others are compiled while it trains, from the second
step on.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import jax

from wsign_jax.data.pipeline import Batch


class Task(NamedTuple):
    """A program to compile."""

    name: str  # for people, for example 'stage1'
    step: Any  # takes (state or parameters, batch, settings); has `lower`, like a jitted function
    arguments: tuple[Any, Batch, Any]  # shapes with their sharding


Shape = tuple[int, ...]  # (B, T) of a batch's features


class Ahead:
    """A context manager that compiles tasks one after another on a thread, and runs the programs."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._programs: dict[tuple[int, Shape], Future[Any]] = {}
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._awaited = threading.Event()  # training waits for a program
        self._stepped = threading.Event()  # the first step is done
        self._left = False
        self._began = time.monotonic()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A compilation cannot be interrupted: the process ends when the current one is done.
        self._left = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._stepped.set()

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Queues tasks in the order in which they are needed, each program once.

        The first task is traced before this returns. On the thread, tracing would share the interpreter
        with whatever the caller does next. Compiling, which does not need the interpreter, would then
        begin later.
        """
        for task in tasks:
            key = (id(task.step), task.arguments[1].features.shape[:2])
            if key not in self._programs:
                traced = None if self._programs else self._trace(task)
                self._programs[key] = self._pool.submit(self._compile, task, traced)

    def run(self, step: Callable[..., Any], state: Any, batch: Batch, settings: Any) -> Any:
        """Runs a step, with the program for the batch's shape if one was prepared.

        Args:
            step: as in its `Task`.
            state: its first argument.
            batch: on the devices.
            settings: its third argument.

        Raises:
            Exception: whatever went wrong when it was compiled.
        """
        program = self._programs.get((id(step), batch.features.shape[:2]))
        if program is not None:
            if not program.done():
                self._awaited.set()
                if program is not next(iter(self._programs.values())):
                    self._stepped.set()  # otherwise it waits for a step that waits for it
            step = program.result()
            self._awaited.clear()
        result = step(state, batch, settings)
        if not self._stepped.is_set():
            # A person waits for the first step's loss, so the next program is compiled only after it.
            jax.block_until_ready(result)
            self._stepped.set()
        return result

    @property
    def compiled(self) -> int:
        """The number of programs that are ready."""
        return sum(program.done() for program in self._programs.values())

    def messages(self) -> list[str]:
        """Returns a line for each program that was compiled since the last call."""
        return [self._messages.get_nowait() for _ in range(self._messages.qsize())]

    def _trace(self, task: Task) -> tuple[Any, float]:
        """Returns the lowered program, and when work on it began."""
        begin = time.monotonic()
        return task.step.lower(*task.arguments), begin

    def _compile(self, task: Task, traced: tuple[Any, float] | None) -> Any:
        if traced is None:
            self._stepped.wait()
            if self._left:
                raise CancelledError
            traced = self._trace(task)
        lowered, begin = traced
        program = lowered.compile()
        end = time.monotonic()
        rows, frames = task.arguments[1].features.shape[:2]
        how = "training waited for it" if self._awaited.is_set() else "in the background"
        self._messages.put(
            f"compiled {task.name} for {rows} x {frames} frames in {end - begin:.1f} s, {how} "
            f"({end - self._began:.1f} s after the start)"
        )
        return program

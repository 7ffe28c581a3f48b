"""Compiles the programs of a run in the background, in the order in which it will need them.

Compiling a base-size training step takes 10 to 15 seconds on a CPU, once for every bucket. Training
waits only for a program that is not ready when it is needed.
"""

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import jax

from wsign_jax.data.pipeline import Batch


class CompileTask(NamedTuple):
    """A program to compile."""

    name: str  # for people, for example 'stage1'
    step: Any  # a jitted function of a state or parameters, a batch and settings
    arguments: tuple[Any, Batch[jax.ShapeDtypeStruct], Any]  # shapes with their sharding


def program_key(step: Any, batch: Batch[Any]) -> tuple[Any, int, int]:
    """Returns the step and the shape B, T that one program belongs to."""
    return step, batch.frames.shape[0], batch.length


class BackgroundCompiler:
    """A context manager that compiles tasks one after another on a thread, and runs the programs."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._programs: dict[Any, Future[Any]] = {}
        self._later: list[tuple[Any, CompileTask]] = []
        self._messages = deque[str]()

    def __enter__(self) -> "BackgroundCompiler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A compilation cannot be interrupted: the process ends when the current one is done.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def prepare(self, tasks: Iterable[CompileTask]) -> None:
        """Takes tasks in the order in which they are needed, each program once; starts the first.

        The first task is traced before this returns. On the thread, tracing would share the interpreter
        with whatever the caller does next. The others start after the first step, for whose loss a
        person waits.
        """
        unique: dict[Any, CompileTask] = {}
        for task in tasks:
            unique.setdefault(program_key(task.step, task.arguments[1]), task)
        (key, first), *self._later = unique.items()
        began = time.monotonic()
        lowered = first.step.lower(*first.arguments)
        self._programs[key] = self._pool.submit(self._compile, first, lowered, began)

    def run(self, step: Any, state: Any, batch: Batch[jax.Array], settings: Any) -> Any:
        """Runs a step, with the program for the batch's shape if one was prepared.

        Raises:
            Exception: whatever went wrong when it was compiled.
        """
        key = program_key(step, batch)
        if key not in self._programs:
            self._submit_later()
        if key not in self._programs:
            return step(state, batch, settings)
        result = self._programs[key].result()(state, batch, settings)
        if self._later:
            jax.block_until_ready(result)
            self._submit_later()
        return result

    def messages(self) -> list[str]:
        """Returns a line for each program that was compiled since the last call."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def _submit_later(self) -> None:
        for key, task in self._later:
            self._programs[key] = self._pool.submit(self._compile, task)
        self._later = []

    def _compile(self, task: CompileTask, lowered: Any = None, began: float | None = None) -> Any:
        began = time.monotonic() if began is None else began
        program = (lowered or task.step.lower(*task.arguments)).compile()
        _, rows, frames = program_key(task.step, task.arguments[1])
        seconds = time.monotonic() - began
        self._messages.append(
            f"compiled {task.name} for {rows} x {frames} frames in {seconds:.1f} s"
        )
        return program

"""Shows progress: a bar on a terminal, a line every ten seconds elsewhere."""

import datetime
import math
import sys
import time

from rich import progress

_PLAIN_SECONDS = 10.0  # between two lines if there is no terminal


class Progress:
    """A context manager that counts what is done and shows it."""

    def __init__(self, name: str, done: int, total: int, unit: str = ""):
        """Begins with `done` of `total` already done; `unit` follows the numbers in plain lines."""
        self._name, self._unit, self._printed = name, unit, time.monotonic()
        self._on_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=6),  # so that all of it fits in 80 columns
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[figures]}"),
            disable=not self._on_terminal,
            speed_estimate_period=math.inf,  # the pace is that of the last 1000
            get_time=time.monotonic,
        )
        task = self._bar.add_task(name, total=total, completed=done, figures="")
        self._task = self._bar.tasks[task]
        self._bar.advance(task, 0)  # the pace is measured from here

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._task.elapsed or 0.0

    def advance(self, figures: str, short: str = "") -> None:
        """Counts one more, and now and then shows its figures and the time that is left.

        `short` is a shorter form of the figures for a bar, which has less room.
        """
        self._bar.advance(self._task.id)
        left = f"  {datetime.timedelta(seconds=round(self._task.time_remaining or 0))} left"
        now = time.monotonic()
        if self._on_terminal:
            self._bar.update(self._task.id, figures=(short or figures) + left)
        elif now - self._printed >= _PLAIN_SECONDS or self._task.finished:
            self._printed = now
            counted = f"{self._task.completed}/{self._task.total} {self._unit}".rstrip()
            print(f"{self._name} {counted}  {figures}{left}", flush=True)

    def note(self, line: str) -> None:
        """Prints a line above the bar."""
        print(line, flush=True)  # the bar redirects stdout

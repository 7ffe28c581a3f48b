"""Shows progress: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich import progress

_PLAIN_SECONDS = 10.0  # between two lines if there is no terminal


class Progress:
    """A context manager that counts what is done and shows it."""

    def __init__(self, name: str, done: int, total: int, unit: str = ""):
        """Begins with `done` of `total` already done; `unit` follows the numbers in plain lines."""
        self._name, self._done, self._total, self._unit = name, done, total, unit
        self._began = self._printed = time.monotonic()
        self._began_at = done
        self._bar: progress.Progress | None = None
        if sys.stdout is not None and sys.stdout.isatty():
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=6),  # so that all of it fits in 80 columns
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[figures]}"),
            )
            self._task = self._bar.add_task(name, total=total, completed=done, figures="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def advance(self, figures: str, short: str = "") -> None:
        """Counts one more, and now and then shows its figures and the time that is left.

        Args:
            figures: for example 'loss 1.5'.
            short: a shorter form for a bar, which has less room.
        """
        self._done += 1
        now = time.monotonic()
        pace = (now - self._began) / (self._done - self._began_at)
        left = f"  {_clock(pace * (self._total - self._done))} left"
        if self._bar:
            shown = (short or figures) + left
            self._bar.update(self._task, completed=self._done, figures=shown)
        elif now - self._printed >= _PLAIN_SECONDS or self._done == self._total:
            self._printed = now
            counted = f"{self._done}/{self._total} {self._unit}".rstrip()
            print(f"{self._name} {counted}  {figures}{left}", flush=True)

    def note(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

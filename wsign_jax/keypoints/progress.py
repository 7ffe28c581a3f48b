"""How far an extraction is: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich import progress

_PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


class Progress:
    """Counts clips that are done."""

    def __init__(self, done: int, clips: int):
        """Begins with `done` of `clips` clips done before."""
        self._done, self._clips = done, clips
        self._frames = 0
        self._began = self._printed = time.monotonic()
        self._bar: progress.Progress | None = None
        if sys.stdout.isatty():
            self._bar = progress.Progress(
                progress.TextColumn("keypoints"),
                progress.BarColumn(bar_width=20),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[figures]}"),
                progress.TimeRemainingColumn(),
            )
            self._task = self._bar.add_task("", total=clips, completed=done, figures="")

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

    def advance(self, pictures: int) -> None:
        """Counts a clip with so many pictures."""
        self._done += 1
        self._frames += pictures
        now = time.monotonic()
        figures = f"{self._frames / max(now - self._began, 1e-9):.0f} pictures/s"
        if self._bar:
            self._bar.update(self._task, completed=self._done, figures=figures)
        elif now - self._printed >= _PLAIN_SECONDS or self._done == self._clips:
            self._printed = now
            print(f"keypoints {self._done}/{self._clips} clips  {figures}", flush=True)

    def note(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

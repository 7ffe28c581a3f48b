"""Prints a live stream: lines for a person, or one JSON object per line for a program.

Objects have `event`, and `time`, the seconds of the stream so far:

    start    source, chunk, left_context: the stream waits for pictures
    stable   label, start, end, confidence: a gloss that never changes again
    unknown  start, end, confidence: a sign that fits no gloss well enough (`--unknown=mark`)
    partial  labels: the glosses after the stable ones, which may still change; told when they do
    final    labels, score: a sentence that is over, decoded again as a whole
    end      why, and the fields of `StreamSummary`
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from wsign_jax.common.errors import printable
from wsign_jax.decode.transcript import UNKNOWN, Gloss, json_line
from wsign_jax.stream.stream import StreamResult

_MARGIN = 29  # columns before a gloss


@dataclasses.dataclass(frozen=True)
class StreamSummary:
    """The summary of a stream."""

    kind: str  # what came: 'pictures' or 'keypoint frames'
    count: int
    seconds: float  # of the stream
    took: float  # seconds from the first to the last result
    dropped: int  # because the machine was too slow
    out_of_order: int  # left out, since their time did not increase
    nan: int  # in which a hand counted as absent because of NaN, infinity or garbage
    # The parts of a gloss's delay, by name: median and 95th percentile in milliseconds.
    delays: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        lines = [
            f"{self.count} {self.kind} of {self.seconds:.2f} s in {self.took:.2f} s; "
            f"{self.dropped} dropped, {self.out_of_order} out of order, {self.nan} with NaN or garbage"
        ]
        if self.delays:
            medians, most = (sum(column) for column in zip(*self.delays.values(), strict=True))
            rows = {**self.delays, "sum": (medians, most)}
            lines.append(f"{'delay':10} {'median':>10} {'95 %':>10}")
            lines += [f"{name:10} {a:7.1f} ms {b:7.1f} ms" for name, (a, b) in rows.items()]
        return "\n".join(lines)


class TextPrinter:
    """Prints one line per stable gloss; on a terminal, what may still change stands below."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live: Live | None = None

    def __enter__(self) -> "TextPrinter":
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def start(self, source: str, chunk: int, left_context: int) -> None:
        """Tells the source to recognize, and the attention window in patches."""
        self._print(
            f"{printable(source)}: {chunk} patches at a time, {left_context} before; Ctrl-C ends it"
        )

    def tell(self, time_s: float, result: StreamResult) -> None:
        """Tells the results of a push."""
        del time_s
        for gloss in result.stable:
            times = f"{gloss.start:.2f} - {gloss.end:.2f} s"
            self._print(f"{times:>22} {gloss.confidence:5.2f} {gloss.label}")
        if result.final is not None:
            self._print(f"{'sentence':>22}       {result.final.text}")
        if self._live:
            text = "".join([" " * _MARGIN, " ".join(_labels(result.partial))]).rstrip()
            self._live.update(Text(text, "dim"), refresh=True)

    def end(self, why: str, summary: StreamSummary) -> None:
        """Tells why the stream is over, and its summary."""
        self._print(f"{printable(why)}\n{summary}")

    def _print(self, text: str) -> None:
        self._console.print(text)
        self._console.file.flush()


class JsonPrinter:
    """Prints one JSON object per line."""

    def __init__(self) -> None:
        self._partial: list[str] = []

    def __enter__(self) -> "JsonPrinter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def start(self, source: str, chunk: int, left_context: int) -> None:
        """Tells the source to recognize, and the attention window in patches."""
        self._print("start", 0.0, source=source, chunk=chunk, left_context=left_context)

    def tell(self, time_s: float, result: StreamResult) -> None:
        """Tells the results of a push."""
        for gloss in result.stable:
            fields = dataclasses.asdict(gloss)
            if gloss.label == UNKNOWN:
                del fields["label"]
            self._print("unknown" if gloss.label == UNKNOWN else "stable", time_s, **fields)
        if result.final is not None:
            labels = _labels(result.final.glosses)
            self._print("final", time_s, labels=labels, score=result.final.score)
        if (partial := _labels(result.partial)) != self._partial:
            self._partial = partial
            self._print("partial", time_s, labels=partial)

    def end(self, why: str, summary: StreamSummary) -> None:
        """Tells why the stream is over, and its summary."""
        self._print("end", summary.seconds, why=why, **dataclasses.asdict(summary))

    def _print(self, event: str, time_s: float, **fields: Any) -> None:
        record = {"event": event, "time": time_s, **fields}
        print(json_line(_rounded(record)), end="", flush=True)


def _labels(glosses: Sequence[Gloss]) -> list[str]:
    return [gloss.label for gloss in glosses]


def _rounded(value: Any) -> Any:
    """Rounds floats to four decimals, at any depth."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value

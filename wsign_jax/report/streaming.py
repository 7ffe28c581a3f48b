"""A table, a picture and a file of the measurements of streaming."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.report.pictures import figure_png

FULL = 0  # the chunk is the whole recording, so that results come after its end
SUMMARY = "streaming.json"
NAMES = (SUMMARY, "streaming.md", "wer_over_delay.png")
_TITLES = (
    ("chunk", "left context"),
    ("WER", "S / D / I"),
    ("delay, median", "95 %"),
    ("real-time factor", "ms a chunk, 50 / 95 / 99 %"),
)
_COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")  # color-blind readers can tell them apart


@dataclasses.dataclass(frozen=True)
class WindowRow:
    """The results of one attention window on a whole split; delays are of the found signs."""

    chunk: int  # patches, or `FULL`
    left_context: int  # patches; 0 for full attention
    wer: float
    substitutions: int
    deletions: int
    insertions: int
    ref_glosses: int
    # Seconds from a sign's true end until its final report; None without true times.
    delay_median: float | None
    delay_95: float | None
    differing: int  # sentences whose stream gave other glosses than the whole with the same mask
    # Computing time: seconds per second of signing, milliseconds per chunk; None for full attention.
    real_time_factor: float | None
    chunk_ms: tuple[float, float, float] | None  # median, 95th and 99th percentile


def streaming_table(rows: Sequence[WindowRow]) -> str:
    """Returns the table in Markdown."""
    titles = [title for pair in _TITLES for title in pair]
    lines = [titles, ["---"] * len(titles), *map(_cells, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cells(row: WindowRow) -> list[str]:
    none = "-"
    has_times = row.delay_median is not None and row.delay_95 is not None
    return [
        "full" if row.chunk == FULL else str(row.chunk),
        none if row.chunk == FULL else str(row.left_context),
        f"{row.wer:.3f}",
        f"{row.substitutions} / {row.deletions} / {row.insertions}",
        f"{row.delay_median:.2f} s" if has_times else none,
        f"{row.delay_95:.2f} s" if has_times else none,
        none if row.real_time_factor is None else f"{row.real_time_factor:.3f}",
        none if row.chunk_ms is None else " / ".join(f"{ms:.1f}" for ms in row.chunk_ms),
    ]


def streaming_picture(rows: Sequence[WindowRow]) -> bytes:
    """Returns a PNG of WER over median delay.

    Each left context is a line, each chunk size a dot, and full attention a dashed line.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    contexts = sorted({row.left_context for row in rows if row.chunk != FULL})
    for number, context in enumerate(contexts):
        line = sorted(
            (row.delay_median, row.wer, row.chunk)
            for row in rows
            if row.chunk != FULL and row.left_context == context and row.delay_median is not None
        )
        color = _COLORS[number % len(_COLORS)]
        axes.plot(
            [delay for delay, _, _ in line],
            [wer for _, wer, _ in line],
            marker="o",
            color=color,
            label=f"{context} patches of left context",
        )
        for delay, wer, chunk in line:
            axes.annotate(str(chunk), (delay, wer), (4, 4), textcoords="offset points", color=color)
    for row in rows:
        if row.chunk == FULL:
            axes.axhline(row.wer, linestyle="--", color="#555", label="full attention")
    axes.set_xlabel("median delay after a sign's true end, seconds (at each dot: patches a chunk)")
    axes.set_ylabel("WER")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure_png(figure)


def check_streaming_folder(folder: pathlib.Path) -> None:
    """Refuses a folder that has such a report already; called before measuring starts.

    Raises:
        WSignError: it has a file with one of `NAMES`, or is not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise WSignError(f"{folder}: is a file; name a folder for the report")
    for name in NAMES:
        if (folder / name).exists():
            raise WSignError(f"{folder / name}: is there already; name another folder (--out)")


def write_streaming_report(
    folder: pathlib.Path, rows: Sequence[WindowRow], settings: Mapping[str, Any]
) -> None:
    """Writes `NAMES` into a folder, which is made if it is missing; the JSON comes last.

    Raises:
        WSignError: the folder has such a report already, or is not a folder.
    """
    check_streaming_folder(folder)
    files.write(folder / "streaming.md", streaming_table(rows).encode())
    files.write(folder / "wer_over_delay.png", streaming_picture(rows))
    files.write_json(
        folder / SUMMARY, {**settings, "windows": [dataclasses.asdict(row) for row in rows]}
    )

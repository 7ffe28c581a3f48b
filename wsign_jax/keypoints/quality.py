"""The result of each clip, in `quality.csv`, and which clips a person should look at."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from wsign_jax.common.errors import WSignError

_LITTLE_SEEN = 0.5  # share of frames in which no hand was seen
_MANY_FLIPS = 0.1  # share of detections whose label was not believed
_MANY_GAPS = 2.0  # per second and hand
_LOW_SCORE = 0.75
_LOW_FPS = 20.0
_SHORT = 0.3  # seconds


@dataclasses.dataclass(frozen=True)
class ClipReport:
    """One clip's row; figures are 0 if the clip failed."""

    id: str
    source: str
    frames: int = 0  # written
    duration_s: float = 0.0
    fps: float = 0.0  # of the source, on average
    left_share: float = 0.0  # of frames with the left hand
    right_share: float = 0.0
    left_gaps: int = 0  # times that the hand was lost and came back
    right_gaps: int = 0
    label_flips: int = 0  # detections that were given to the hand that MediaPipe did not name
    mean_score: float = 0.0  # where a hand was seen
    warnings: str = ""  # why a person should look at the clip
    problem: str | None = None  # why nothing was written

    @property
    def done(self) -> bool:
        """Whether the keypoints were written."""
        return self.problem is None


COLUMNS = tuple(field.name for field in dataclasses.fields(ClipReport))
_HEADER = ",".join(COLUMNS) + "\n"


def report_clip(
    id: str,
    source: str,
    confidence: np.ndarray,
    fps: float,
    times: Sequence[float],
    flips: int,
    missing: Sequence[str] = (),
) -> ClipReport:
    """Returns the report of a clip that was extracted.

    `confidence` (T, 2) is that of the left and the right hand in frames at `fps`. The source's pictures
    were taken at `times`, in seconds. `flips` counts detections that were given to the other hand.
    `missing` says what could not be read.
    """
    seen = confidence > 0
    scores = confidence[seen]
    span = times[-1] - times[0]
    figures = ClipReport(
        id=id,
        source=source,
        frames=len(confidence),
        duration_s=_rounded(len(confidence) / fps),
        fps=_rounded((len(times) - 1) / span) if span > 0 else 0.0,
        left_share=_rounded(seen[:, 0].mean()),
        right_share=_rounded(seen[:, 1].mean()),
        left_gaps=_gaps(seen[:, 0]),
        right_gaps=_gaps(seen[:, 1]),
        label_flips=flips,
        mean_score=_rounded(scores.mean()) if scores.size else 0.0,
    )
    detections = seen.sum() / fps * figures.fps
    warnings = [*missing, *_warnings(figures, float((~seen.any(1)).mean()), float(detections))]
    return dataclasses.replace(figures, warnings="; ".join(warnings))


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _gaps(seen: np.ndarray) -> int:
    """Counts the runs of absence between two frames with the hand."""
    returns = np.count_nonzero(seen[1:] & ~seen[:-1])
    return max(int(returns) - (0 if seen[0] else 1), 0)


def _warnings(figures: ClipReport, unseen: float, detections: float) -> list[str]:
    found = []
    if unseen > _LITTLE_SEEN:
        found.append(f"no hand in {unseen:.0%} of it")
    if figures.label_flips > _MANY_FLIPS * max(detections, 1.0):
        found.append("left and right were often confused")
    if figures.left_gaps + figures.right_gaps > max(2 * _MANY_GAPS * figures.duration_s, 2.0):
        found.append("hands come and go")
    if figures.mean_score < _LOW_SCORE:
        found.append(f"low score {figures.mean_score:.2f}")
    if 0 < figures.fps < _LOW_FPS:
        found.append(f"only {figures.fps:.1f} fps")
    if figures.duration_s < _SHORT:
        found.append("very short")
    return found


# ------------------------------------------------------------------------------------------- the table


def table_row(clip: ClipReport) -> str:
    """Returns a report as a line of the table."""
    fields = (getattr(clip, name) for name in COLUMNS)
    values = ["" if value is None else value for value in fields]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def table_of_clips(clips: Iterable[ClipReport]) -> str:
    """Returns all of `quality.csv`, sorted by id."""
    lines = map(table_row, sorted(clips, key=lambda clip: (clip.id, clip.source)))
    return "".join([_HEADER, *lines])


def read_quality(path: pathlib.Path) -> list[ClipReport]:
    """Returns the rows of a table, or [] if it is missing; a last line that was cut off is dropped.

    Raises:
        WSignError: the file is not such a table.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith(_HEADER) and not _HEADER.startswith(text):
        raise WSignError(f"{path}: is not a table of this extraction; move it away")
    clips = []
    rows = csv.reader(io.StringIO(text[len(_HEADER) : text.rfind("\n") + 1], newline=""))
    try:
        for values in rows:
            clips.append(_parse(dict(zip(COLUMNS, values, strict=True))))
    except (ValueError, csv.Error):  # csv.Error: a field of more than 128 KiB
        raise WSignError(
            f"{path}:{rows.line_num + 1}: is not a row of this table; delete the line"
        ) from None
    return clips


def _parse(values: dict[str, str]) -> ClipReport:
    kinds = {field.name: field.type for field in dataclasses.fields(ClipReport)}
    parsed: dict[str, str | int | float | None] = {}
    for name, text in values.items():
        if kinds[name] is int:
            parsed[name] = int(text)
        elif kinds[name] is float:
            number = float(text)
            if not math.isfinite(number):
                raise ValueError(text)
            parsed[name] = number
        else:
            parsed[name] = text or None if name == "problem" else text
    return ClipReport(**parsed)  # type: ignore[arg-type]


def summarize_clips(clips: Sequence[ClipReport]) -> str:
    """Returns what a person reads at the end: how many are done, which failed, which to look at."""
    failed = [clip for clip in clips if not clip.done]
    suspect = [clip for clip in clips if clip.done and clip.warnings]
    lines = [f"{len(clips) - len(failed)} of {len(clips)} clips have keypoints"]
    if suspect:
        lines.append(f"{len(suspect)} of them should be looked at:")
        lines += [f"  {clip.id}: {clip.warnings}" for clip in suspect]
    if failed:
        lines.append(f"{len(failed)} failed:")
        lines += [f"  {clip.id}: {clip.problem}" for clip in failed]
    return "\n".join(lines)

"""Recognized glosses with their times, and their formats: text, JSON lines, CSV, subtitles, ELAN's."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from wsign_jax.common.errors import printable
from wsign_jax.decode import elan


@dataclasses.dataclass(frozen=True)
class Gloss:
    """One recognized sign."""

    label: str  # its name in label_map.json
    start: float  # seconds from the beginning of the recording or stream
    end: float
    confidence: float  # in [0, 1], calibrated if the run's decoder was tuned


@dataclasses.dataclass(frozen=True)
class Transcript:
    """The recognized glosses of one recording."""

    glosses: list[Gloss]  # in the order of their signing
    score: float  # log score that the decoder gives to the hypothesis

    @property
    def text(self) -> str:
        """The glosses' labels, separated by spaces."""
        return " ".join(gloss.label for gloss in self.glosses)


OFF, MARK, DROP = UNKNOWN_MODES = ("off", "mark", "drop")  # what becomes of unknown signs
# The mark of a sign that fits no gloss well enough; its confidence is that of the best gloss.
UNKNOWN = "<unknown>"


class Candidate(NamedTuple):
    """A gloss that may be in the transcript."""

    gloss: Gloss
    is_unknown: bool = False  # by the rule for unknown signs
    is_enrolled: bool = False


def as_asked(candidates: Iterable[Candidate], unknown: str) -> list[Gloss]:
    """Returns the glosses, with the unknown ones as one of `UNKNOWN_MODES` says."""
    return [
        dataclasses.replace(gloss, label=UNKNOWN) if is_unknown and unknown == MARK else gloss
        for gloss, is_unknown, _ in candidates
        if not (is_unknown and unknown == DROP)
    ]


TEXT, JSONL, CSV, SRT, VTT, EAF = FORMATS = ("text", "jsonl", "csv", "srt", "vtt", "eaf")


ONE_EACH = frozenset({SRT, VTT, EAF})  # one recording per file


_CSV_HEADER = ("file", "label", "start", "end", "confidence")


# CTC is sure of a sign for a patch or two, too short to read.
_SHOWN_SECONDS = 1.0


_FORMULA = ("=", "+", "-", "@")  # a spreadsheet computes a cell that begins so


def file_head(kind: str) -> str:
    """Returns the text before the first recording, in one of `FORMATS`."""
    return {CSV: _csv_line(_CSV_HEADER), VTT: "WEBVTT\n\n"}.get(kind, "")


def format_transcript(kind: str, name: str, transcript: Transcript) -> str:
    """Returns a recording's lines.

    Args:
        kind: one of `FORMATS`.
        name: of the recording, its path; subtitles do not show it.
        transcript: of the recording.
    """
    if kind == TEXT:
        return f"{printable(name)}\t{printable(transcript.text)}\n"
    if kind == JSONL:
        return json_line({"file": name, **dataclasses.asdict(transcript)})
    if kind == CSV:
        return "".join(
            _csv_line((name, g.label, f"{g.start:.3f}", f"{g.end:.3f}", f"{g.confidence:.3f}"))
            for g in transcript.glosses
        )
    if kind == EAF:
        return elan.elan_document(
            name, [dataclasses.astuple(gloss) for gloss in transcript.glosses]
        )
    cues = zip(_cues(transcript.glosses), transcript.glosses, strict=True)
    if kind == VTT:
        return "".join(
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_vtt(gloss.label)}\n\n"
            for (start, end), gloss in cues
        )
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_srt(gloss.label)}\n\n"
        for number, ((start, end), gloss) in enumerate(cues, 1)
    )


def json_line(value: dict[str, Any]) -> str:
    """Returns an object as a line of JSON."""
    return printable(json.dumps(value, ensure_ascii=False)) + "\n"


def _cues(glosses: list[Gloss]) -> list[tuple[float, float]]:
    """Returns when each gloss is shown: long enough to read it, but never with the next."""
    starts = [gloss.start for gloss in glosses[1:]] + [float("inf")]
    return [
        (gloss.start, min(max(gloss.end, gloss.start + _SHOWN_SECONDS), following))
        for gloss, following in zip(glosses, starts, strict=False)
    ]


def _clock(seconds: float, point: str) -> str:
    """Returns seconds in the form '01:02:03.456'."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _vtt(label: str) -> str:
    label = printable(label)
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _srt(label: str) -> str:
    # The format has no escapes: players take an arrow for the times of another cue, and hide what is in
    # angle brackets, as `UNKNOWN` is.
    return printable(label).replace("-->", "\u2192").replace("<", "\u2039").replace(">", "\u203a")


def _csv_line(fields: tuple[str, ...]) -> str:
    line = io.StringIO()
    cells = (f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in map(printable, fields))
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()

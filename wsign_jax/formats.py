"""Transcripts as text, JSON lines, CSV and subtitles."""

import csv
import dataclasses
import io
import json

from wsign_jax.transcript import Gloss, Transcript

TEXT, JSONL, CSV, SRT, VTT = FORMATS = ("text", "jsonl", "csv", "srt", "vtt")
SUBTITLES = frozenset({SRT, VTT})  # one recording a file

_CSV_HEADER = ("file", "label", "start", "end", "confidence")
# CTC is sure of a sign for a patch or two, too short to read.
_SHOWN_SECONDS = 1.0


def head(kind: str) -> str:
    """What comes before the first recording, in one of `FORMATS`."""
    return {CSV: _csv_line(_CSV_HEADER), VTT: "WEBVTT\n\n"}.get(kind, "")


def body(kind: str, name: str, transcript: Transcript) -> str:
    """A recording's lines.

    Args:
        kind: one of `FORMATS`.
        name: of the recording; subtitles do without.
        transcript: of it.
    """
    if kind == TEXT:
        return f"{name}\t{transcript.text}\n"
    if kind == JSONL:
        return (
            json.dumps({"file": name, **dataclasses.asdict(transcript)}, ensure_ascii=False) + "\n"
        )
    if kind == CSV:
        return "".join(
            _csv_line((name, g.label, f"{g.start:.3f}", f"{g.end:.3f}", f"{g.confidence:.3f}"))
            for g in transcript.glosses
        )
    cues = zip(_cues(transcript.glosses), transcript.glosses, strict=True)
    if kind == VTT:
        return "".join(
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n{_escaped(gloss.label)}\n\n"
            for (start, end), gloss in cues
        )
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{gloss.label}\n\n"
        for number, ((start, end), gloss) in enumerate(cues, 1)
    )


def _cues(glosses: list[Gloss]) -> list[tuple[float, float]]:
    """When each gloss is shown: long enough to read it, but never with the next."""
    starts = [gloss.start for gloss in glosses[1:]] + [float("inf")]
    return [
        (gloss.start, min(max(gloss.end, gloss.start + _SHOWN_SECONDS), following))
        for gloss, following in zip(glosses, starts, strict=False)
    ]


def _clock(seconds: float, point: str) -> str:
    """'01:02:03.456'."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _escaped(label: str) -> str:
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _csv_line(fields: tuple[str, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()

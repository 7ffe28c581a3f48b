import csv
import io
import json

import pytest

from wsign_jax import formats
from wsign_jax.transcript import Gloss, Transcript

SENTENCE = Transcript(
    [
        Gloss("HELLO", 0.0, 0.0667, 0.91),
        Gloss("A<B>, C", 0.4, 0.5, 0.5),
        Gloss("END", 3661.9996, 3663.5, 1.0),
    ],
    -1.5,
)


def whole(kind, *transcripts):
    lines = [formats.body(kind, f"{n}.mp4", transcript) for n, transcript in enumerate(transcripts)]
    return formats.head(kind) + "".join(lines)


def test_text_is_a_line_a_recording():
    assert whole("text", SENTENCE, Transcript([], 0.0)) == "0.mp4\tHELLO A<B>, C END\n1.mp4\t\n"


def test_json_lines_hold_everything():
    [row, empty] = map(json.loads, whole("jsonl", SENTENCE, Transcript([], 0.0)).splitlines())
    assert row["file"] == "0.mp4" and row["score"] == -1.5 and empty["glosses"] == []
    assert [Gloss(**gloss) for gloss in row["glosses"]] == SENTENCE.glosses


def test_csv_is_read_back():
    rows = list(csv.DictReader(io.StringIO(whole("csv", SENTENCE, Transcript([], 0.0), SENTENCE))))
    assert [row["file"] for row in rows] == ["0.mp4"] * 3 + ["2.mp4"] * 3
    assert rows[1] == {
        "file": "0.mp4", "label": "A<B>, C", "start": "0.400", "end": "0.500", "confidence": "0.500",
    }  # fmt: skip


def test_subtitles_stay_long_enough_to_read_but_never_overlap():
    assert whole("srt", SENTENCE) == (
        "1\n00:00:00,000 --> 00:00:00,400\nHELLO\n\n"
        "2\n00:00:00,400 --> 00:00:01,400\nA<B>, C\n\n"
        "3\n01:01:02,000 --> 01:01:03,500\nEND\n\n"
    )
    assert whole("vtt", SENTENCE).startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\nHELLO\n\n"
        "00:00:00.400 --> 00:00:01.400\nA&lt;B&gt;, C\n\n"
    )


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_of_nothing(kind):
    assert whole(kind, Transcript([], 0.0)) == formats.head(kind)

import csv
import io
import json

import pytest

from wsign_jax.decode.transcript import Gloss, Transcript, file_head, format_transcript

SENTENCE = Transcript(
    [
        Gloss("HELLO", 0.0, 0.0667, 0.91),
        Gloss("A<B>, C", 0.4, 0.5, 0.5),
        Gloss("END", 3661.9996, 3663.5, 1.0),
    ],
    -1.5,
)


def whole(kind, *transcripts):
    lines = [
        format_transcript(kind, f"{n}.mp4", transcript) for n, transcript in enumerate(transcripts)
    ]
    return file_head(kind) + "".join(lines)


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
        "2\n00:00:00,400 --> 00:00:01,400\nA\u2039B\u203a, C\n\n"
        "3\n01:01:02,000 --> 01:01:03,500\nEND\n\n"
    )
    assert whole("vtt", SENTENCE).startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.400\nHELLO\n\n"
        "00:00:00.400 --> 00:00:01.400\nA&lt;B&gt;, C\n\n"
    )


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_of_nothing(kind):
    assert whole(kind, Transcript([], 0.0)) == file_head(kind)


@pytest.mark.parametrize(
    ("name", "text", "csv_cell"),
    [
        ("caf\udce9.npy", "caf\\udce9.npy", "caf\\udce9.npy"),
        ("a\nb\x1b]0;own\x07", "a\\u000ab\\u001b]0;own\\u0007", "a\\u000ab\\u001b]0;own\\u0007"),
        ("\u2028\x9bX \u00e9", "\\u2028\\u009bX \u00e9", "\\u2028\\u009bX \u00e9"),
        ("=1+2", "=1+2", "'=1+2"),
        ("@x", "@x", "'@x"),
        ("-1", "-1", "'-1"),
        ("+1", "+1", "'+1"),
    ],
)
def test_a_hostile_name_stays_on_its_line_and_in_its_cell(name, text, csv_cell):
    transcript = Transcript([Gloss("A", 0.0, 0.5, 1.0)], -1.5)
    assert format_transcript("text", name, transcript) == f"{text}\tA\n"
    [row] = csv.reader(io.StringIO(format_transcript("csv", name, transcript)))
    assert row == [csv_cell, "A", "0.000", "0.500", "1.000"]
    line = format_transcript("jsonl", name, transcript)
    assert line.encode().count(b"\n") == 1 and json.loads(line)["file"] == name


def test_a_hostile_gloss_makes_no_cue_and_no_formula():
    hostile = "A\n\n9\n00:00:01,000 --> 00:00:09,000\nB"
    transcript = Transcript([Gloss(hostile, 0.0, 1.0, 1.0), Gloss("=1+2", 1.0, 2.0, 1.0)], 0.0)
    for kind in ("srt", "vtt"):
        text = format_transcript(kind, "", transcript)
        assert text.count("-->") == 2 and text.count("\n\n") == 2
    assert ",'=1+2,1.000," in format_transcript("csv", "a", transcript)

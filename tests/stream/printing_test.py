import json

from wsign_jax.decode.transcript import Gloss, Transcript
from wsign_jax.stream.printing import JsonPrinter, StreamSummary, TextPrinter
from wsign_jax.stream.stream import StreamResult

SOUP, EAT = Gloss("SOUP", 0.2, 0.6, 0.987654), Gloss("EAT", 1.0, 1.25, 0.5)
RESULTS = [
    (0.7, StreamResult([], [SOUP])),
    (1.0, StreamResult([SOUP], [EAT])),
    (1.2, StreamResult([Gloss("<unknown>", 0.7, 0.9, 0.3)], [EAT])),
    (1.5, StreamResult([EAT], [], Transcript([SOUP, EAT], -1.5))),
]
SUMMARY = StreamSummary(
    kind="pictures",
    count=40,
    seconds=1.5,
    took=1.6,
    dropped=5,
    out_of_order=1,
    nan=0,
    delays={"landmarks": (20.0, 30.0), "chunk": (258.3, 490.8)},
)


def tell(events):
    with events:
        events.start("v.mp4", 8, 32)
        for time_s, result in RESULTS:
            events.tell(time_s, result)
        events.end("v.mp4: the end of the file", SUMMARY)


def test_lines_in_a_file_are_stable_glosses_alone(capsys):
    tell(TextPrinter())
    assert capsys.readouterr().out.splitlines() == [
        "v.mp4: 8 patches at a time, 32 before; Ctrl-C ends it",
        "         0.20 - 0.60 s  0.99 SOUP",
        "         0.70 - 0.90 s  0.30 <unknown>",
        "         1.00 - 1.25 s  0.50 EAT",
        "              sentence       SOUP EAT",
        "v.mp4: the end of the file",
        "40 pictures of 1.50 s in 1.60 s; 5 dropped, 1 out of order, 0 with NaN or garbage",
        "delay          median       95 %",
        "landmarks     20.0 ms    30.0 ms",
        "chunk        258.3 ms   490.8 ms",
        "sum          278.3 ms   520.8 ms",
    ]


def test_on_a_terminal_what_may_change_is_drawn_below_and_erased(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    tell(TextPrinter())
    out = capsys.readouterr().out
    assert out.index("SOUP") < out.index("0.20 - 0.60 s  0.99 SOUP")  # partial, then stable
    assert "\x1b[2K" in out  # the partial's line is erased
    assert out.index("EAT") < out.index("1.00 - 1.25 s  0.50 EAT")
    assert out.index("1.00 - 1.25 s  0.50 EAT") < out.index("520.8 ms")


def test_json_is_an_object_a_line_and_a_partial_is_told_when_it_changes(capsys):
    tell(JsonPrinter())
    begin, *events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert begin == {
        "event": "start", "time": 0.0, "source": "v.mp4", "chunk": 8, "left_context": 32,
    }  # fmt: skip
    assert [event["event"] for event in events] == [
        "partial", "stable", "partial", "unknown", "stable", "final", "partial", "end",
    ]  # fmt: skip
    mark = {"event": "unknown", "time": 1.2, "start": 0.7, "end": 0.9, "confidence": 0.3}
    assert events[3] == mark
    assert events[1] == {
        "event": "stable", "time": 1.0, "label": "SOUP", "start": 0.2, "end": 0.6, "confidence": 0.9877,
    }  # fmt: skip
    assert events[2] == {"event": "partial", "time": 1.0, "labels": ["EAT"]}
    assert events[5]["labels"] == ["SOUP", "EAT"] and events[5]["score"] == -1.5
    assert events[6]["labels"] == []
    assert events[7]["why"] == "v.mp4: the end of the file" and events[7]["dropped"] == 5
    assert events[7]["delays"]["chunk"] == [258.3, 490.8]


def test_nothing_came_at_all(capsys):
    with TextPrinter() as events:
        events.end("camera", StreamSummary("pictures", 0, 0.0, 0.0, 0, 0, 0, {}))
    assert capsys.readouterr().out.splitlines() == [
        "camera",
        "0 pictures of 0.00 s in 0.00 s; 0 dropped, 0 out of order, 0 with NaN or garbage",
    ]


def test_a_name_that_is_no_text_stays_on_its_line_and_json_stays_json(capsys):
    JsonPrinter().start("caf\udce9\n\x1b[2J.npy", 8, 32)
    assert json.loads(capsys.readouterr().out)["source"] == "caf\udce9\n\x1b[2J.npy"
    TextPrinter().start("caf\udce9\n\x1b[2J.npy", 8, 32)
    assert capsys.readouterr().out.startswith("caf\\udce9\\u000a\\u001b[2J.npy: 8 patches")

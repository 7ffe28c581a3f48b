"""What a run has logged, read while it may still be writing."""

import json
import pathlib
import struct
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

_CLOCK = {"train/frames_per_second", "checkpoint/stall_seconds"}


def lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def figures(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The lines without what depends on the clock."""
    kept = [{k: v for k, v in line.items() if k not in _CLOCK} for line in lines(workdir)]
    return [line for line in kept if line.keys() > {"stage", "step"}]


def last_step(workdir: pathlib.Path) -> int:
    """The last step that is logged; 0 where there is none."""
    return max((line["step"] for line in lines(workdir)), default=0)


def shown(workdir: pathlib.Path) -> list[tuple[int, Summary.Value]]:
    """Steps and values that TensorBoard shows: a later start drops what it repeats."""
    values: list[tuple[int, Summary.Value]] = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 12 + length + 4
            if event.session_log.status == SessionLog.START:
                values = [(step, value) for step, value in values if step < event.step]
            values += [(event.step, value) for value in event.summary.value]
    return values

"""What a run has logged, read while it may still be writing."""

import json
import pathlib
from typing import Any

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

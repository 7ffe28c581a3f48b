"""MS-ASL: isolated American signs, in videos that the corpus links to but does not ship.

MSASL_{train,val,test}.json, MSASL_classes.json, and the videos as <video id>.mp4
"""

import math
import pathlib
import re
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.data.corpora.records import Corpus, Record


def read(root: pathlib.Path, videos: pathlib.Path | None = None, classes: int = 1000) -> Corpus:
    """Reads the published annotations.

    Args:
        root: the folder of the JSON files.
        videos: the folder of the videos; without it, the folder `videos` in `root`, or `root`.
        classes: how many signs, the most frequent first; 100 is MS-ASL100.

    Raises:
        WSignError: a JSON file is missing or broken, or `classes` is not from 1 to 1000.
    """
    names = [_gloss(name) for name in _read_list(root / "MSASL_classes.json")]
    if not 1 <= classes <= 1000:
        raise WSignError(f"--classes={classes}: give 1 to 1000")
    names = names[:classes]
    if videos is None:
        videos = root / "videos" if (root / "videos").is_dir() else root
    found: list[Record] = []
    problems: list[str] = []
    for split in layout.SPLITS:
        path = root / f"MSASL_{split}.json"
        for number, item in enumerate(_read_list(path)):
            where = f"{path}: item {number}"
            try:
                record = _record(item, split, number, where, names, videos)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                problems.append(f"{where}: broken ({type(error).__name__}: {error})")
                continue
            if record is None:
                continue
            if record.source is None or not record.source.is_file():
                problems.append(f"{where}: {record.source} is missing")
            else:
                found.append(record)
    notes = (f"the first {len(names)} signs of MSASL_classes.json",)
    return Corpus("msasl", tuple(found), tuple(problems), notes, tuple(names))


def _record(
    item: dict[str, Any],
    split: str,
    number: int,
    where: str,
    names: list[str],
    videos: pathlib.Path,
) -> Record | None:
    """Makes the record of an item, or returns None if its sign is not among `names`.

    Raises:
        Exception: the item is broken; `read` lists the kinds.
    """
    label = item["label"]
    if not isinstance(label, int) or label < 0:
        raise ValueError(f"label is {label!r}")
    if label >= len(names):
        return None
    video = re.search(r"(?:[?&]v=|youtu\.be/|/embed/)([\w-]+)", item["url"])
    if video is None:
        raise ValueError(f"no video id in url {item['url']!r}")
    y0, x0, y1, x1 = map(float, item["box"])
    start, end = float(item["start_time"]), float(item["end_time"])
    if not all(map(math.isfinite, (y0, x0, y1, x1))):
        raise ValueError(f"box is {item['box']}")
    if not 0 <= start < end < math.inf:
        raise ValueError(f"start_time {start} and end_time {end}")
    return Record(
        split,
        f"{split}_{number:05d}_{video[1]}",  # with the number, as a video has several signs
        (names[label],),
        where,
        signer=str(item["signer_id"]),
        session=video[1],
        source=videos / f"{video[1]}.mp4",
        start_s=start,
        end_s=end,
        box=(y0, x0, y1, x1),
    )


def _gloss(name: object) -> str:
    # A gloss is one word in every list of glosses.
    return "-".join(str(name).split())


def _read_list(path: pathlib.Path) -> list[Any]:
    if not path.exists():
        raise WSignError(f"{path}: no such file; download it")
    return files.read_json_list(path)

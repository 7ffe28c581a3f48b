"""Runs and exported files that somebody has changed."""

import json
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Mapping
from typing import Any


def changed_metadata(
    workdir: pathlib.Path, tmp_path: pathlib.Path, change: Callable[[dict[str, Any]], object]
) -> pathlib.Path:
    """A copy of a run whose checkpoints' metadata a function has changed."""
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    for path in copy.glob("checkpoints/*/_CHECKPOINT_METADATA"):
        content = json.loads(path.read_text())
        change(content["custom_metadata"])
        path.write_text(json.dumps(content))
    return copy


def rewritten(
    file: pathlib.Path,
    place: pathlib.Path,
    changes: Mapping[str, Callable[[bytes], bytes | str | None]],
) -> pathlib.Path:
    """A copy of an exported file with other members; None leaves one out."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(place, "w") as new:
        for name in old.namelist():
            content = changes[name](old.read(name)) if name in changes else old.read(name)
            if content is not None:
                new.writestr(name, content)
    return place

"""Runs and exported files that somebody has changed."""

import hashlib
import json
import pathlib
import random
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


def resigned(
    file: pathlib.Path,
    place: pathlib.Path,
    changes: Mapping[str, Callable[[bytes], bytes | str | None]],
) -> pathlib.Path:
    """`rewritten`, with digests of what is in it now."""
    rewritten(file, place, changes)
    with zipfile.ZipFile(place) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def sign(content: bytes) -> bytes:
        try:
            about = json.loads(content)
            for name in about["sha256"].keys() & members.keys():
                about["sha256"][name] = hashlib.sha256(members[name]).hexdigest()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return content
        return json.dumps(about).encode()

    return rewritten(file, place, {**changes, "about.json": _after(changes, sign)})


def _after(
    changes: Mapping[str, Callable[[bytes], bytes | str | None]], sign: Callable[[bytes], bytes]
) -> Callable[[bytes], bytes | None]:
    def both(content: bytes) -> bytes | None:
        changed = changes.get("about.json", lambda same: same)(content)
        return (
            None
            if changed is None
            else sign(changed.encode() if isinstance(changed, str) else changed)
        )

    return both


def _flipped(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def _swapped(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[place:] + content[:place]


def _doubled(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + content[place : place + 40] + content[place:]


MUTATIONS = (_flipped, _cut, _swapped, _doubled)

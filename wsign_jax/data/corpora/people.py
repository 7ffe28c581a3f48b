"""People, sessions and splits by the folders in which signs lie.

<root>/<sign>/<clip>                a single folder of signs: nothing is known
<root>/<person>/<sign>/<clip>       a folder a person
<root>/MP_Data1/<sign>/<clip>       a folder a session, beside MP_Data, MP_Data2, ...
<root>/Train/<sign>/<clip>          a folder a split; any of these may lie in each other
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import records

_SESSION = re.compile(r"(mp_?data|session|round|day|take|recording|batch|part)s?(\W|_|\d|$)", re.I)
_DEPTH = 3  # folders between the root and a folder of signs
_SHOWN = 6

IsClip = Callable[[pathlib.Path], bool]


class SignFolder(NamedTuple):
    """A folder of signs, and who signs there, by the folders above it."""

    folder: pathlib.Path
    names: tuple[str, ...] = ()  # the folders above the signs, without those common to all
    signer: str = ""
    session: str = ""
    split: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of the ids of its clips, which keeps them apart from those of other folders."""
        return "".join(f"{name}_" for name in self.names)


def find_sign_folders(root: pathlib.Path, is_clip: IsClip) -> list[SignFolder]:
    """Finds the folders of signs in `root`, which may be one itself, in the order of their names.

    Args:
        root: the folder to search.
        is_clip: tells whether a file or folder is a clip; a folder that holds one is a sign.

    Returns:
        All of them; [] if there are no clips.

    Raises:
        WSignError: `root` is missing, or a folder holds signs and, beside them, folders of signs.
    """
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    return place_sign_folders(list(_below(root, is_clip, _DEPTH)))


def place_sign_folders(folders: Sequence[pathlib.Path]) -> list[SignFolder]:
    """Tells who signs in each of several folders, by the names in which their paths differ."""
    if not folders:
        return []
    top = os.path.commonpath(list(map(os.path.abspath, folders)))
    return [_placed(folder, pathlib.Path(os.path.relpath(folder, top)).parts) for folder in folders]


def _placed(folder: pathlib.Path, names: tuple[str, ...]) -> SignFolder:
    split, sessions, others = "", [], []
    for name in names:
        if of_name := records.split_of(name):
            split = of_name
        elif _SESSION.match(name):
            sessions.append(name)
        else:
            others.append(name)
    return SignFolder(folder, names, "".join(others[:1]), "/".join([*sessions, *others[1:]]), split)


def _below(folder: pathlib.Path, is_clip: IsClip, depth: int) -> Iterable[pathlib.Path]:
    inside = sorted(records.subfolders(folder), key=lambda path: records.natural_order(path.name))
    signs = [path for path in inside if holds_clip(path, is_clip)]
    deeper: dict[pathlib.Path, list[pathlib.Path]] = {}
    if depth:
        deeper = {
            path: list(_below(path, is_clip, depth - 1)) for path in inside if path not in signs
        }
    others = [path for path, found in deeper.items() if found]
    if signs and others:
        raise WSignError(
            f"{folder}: holds signs ({name_some(s.name for s in signs)}) and folders of signs "
            f"({name_some(o.name for o in others)}); read one of these with --root={others[0]}, or move "
            f"them out, and name each with a --root of its own"
        )
    return [folder] if signs else [path for path in others for path in deeper[path]]


def holds_clip(folder: pathlib.Path, is_clip: IsClip) -> bool:
    """Tells whether a folder holds a clip."""
    return any(path.name[0] != "." and is_clip(path) for path in folder.iterdir())


def describe_folders(found: Sequence[SignFolder]) -> list[str]:
    """Returns a line that says how folders were taken, if there are several."""
    kinds = {
        "people": {signs.signer for signs in found},
        "sessions": {signs.session for signs in found},
        "splits": {name for signs in found for name in signs.names if records.split_of(name)},
    }
    parts = [
        f"{name_some(sorted(names - {''}, key=records.natural_order))} as {kind}"
        for kind, names in kinds.items()
        if names - {""}
    ]
    return [f"took the folders {'; '.join(parts)}"] if parts else []


def describe_siblings(root: pathlib.Path, is_clip: IsClip) -> list[str]:
    """Returns a line that names further folders of signs beside `root`, if there are some."""
    root = root.resolve()
    try:
        beside = [
            path.name
            for path in records.subfolders(root.parent)
            if (_SESSION.match(path.name) or records.split_of(path.name)) and path != root
            if any(holds_clip(sign, is_clip) for sign in records.subfolders(path))
        ]
    except OSError:  # not this user's to read
        return []
    return (
        [f"not read: {name_some(beside)}, beside it; --root={root.parent} reads all"]
        if beside
        else []
    )


def name_some(names: Iterable[str]) -> str:
    """Returns the first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

"""Tells which corpus a folder is, by the files in it."""

import os
import pathlib
import re
import shlex
from typing import NamedTuple

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import (
    asl_fingerspelling,
    asl_signs,
    clip_files,
    folder,
    isharah,
    records,
)
from wsign_jax.keypoints import video

# Files that only one published corpus has, below its folder.
_PUBLISHED = {
    "msasl": ("MSASL_classes.json",),
    "phoenix2014": (
        "annotations/manual/train.corpus.csv",
        "phoenix-2014-multisigner/annotations/manual/train.corpus.csv",
    ),
    "phoenix2014t": (
        "annotations/manual/PHOENIX-2014-T.train.corpus.csv",
        "PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.train.corpus.csv",
        "PHOENIX-2014-T-release-v3/PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.train.corpus.csv",
    ),
}
# Tables of corpora that give theirs the same names: the columns tell.
_TABLES = {
    "asl_signs": (("train.csv",), asl_signs.COLUMNS),
    "asl_fingerspelling": (asl_fingerspelling.TABLES, asl_fingerspelling.COLUMNS),
}
_LSA64 = re.compile(r"\d{3}_\d{3}_\d{3}")


class FoundCorpus(NamedTuple):
    """A corpus in a folder."""

    name: str  # one of `prepare.READERS`
    root: pathlib.Path
    why: str  # the files by which it was recognized

    @property
    def command(self) -> str:
        """The command that reads it."""
        return f"python tools/prepare_corpus.py {self.name} --root={shlex.quote(str(self.root))}"


def find_corpus(root: pathlib.Path) -> FoundCorpus:
    """Finds the corpus in a folder.

    Raises:
        WSignError: the folder is missing, there is nothing that is known, or there are several things:
            each is named with the command that reads it.
    """
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    if (root / "label_map.json").is_file() and (root / "train").is_dir():
        raise WSignError(f"{root}: a data set already; train on it with --config.data.dir={root}")
    if published := _published(root):
        return published
    found = _by_files(root)
    if len(found) > 1:
        lines = [f"{each.why}: {each.command}" for each in found]
        raise WSignError("\n  ".join([f"{root}: several things at once; name one of them", *lines]))
    if not found:
        raise WSignError(
            f"{root}: no videos or keypoints found that can be read; python tools/prepare_corpus.py "
            "--help says which are"
        )
    return found[0]


def _published(root: pathlib.Path) -> FoundCorpus | None:
    for name, paths in _PUBLISHED.items():
        for path in paths:
            if (root / path).is_file():
                return FoundCorpus(name, root, path)
    for name, (paths, columns) in _TABLES.items():
        for path in paths:
            if (root / path).is_file() and set(columns) <= _header(root / path, ","):
                return FoundCorpus(name, root, path)
    pickle = next(root.rglob("*.pkl"), None)
    if pickle is None:
        return None
    for table in isharah.TRAIN:
        for annotations in root.rglob(table):
            if set(isharah.COLUMNS) <= _header(annotations, "|"):
                return FoundCorpus("isharah", root, f"{pickle.name} and {table}")
    return None


def _header(path: pathlib.Path, delimiter: str) -> set[str]:
    try:
        return set(tables.read_text(path).partition("\n")[0].strip().split(delimiter))
    except WSignError:
        return set()


def _by_files(root: pathlib.Path) -> list[FoundCorpus]:
    kinds: dict[str, list[pathlib.Path]] = {}  # the files, by the name of a corpus
    arrays: dict[pathlib.Path, str] = {}  # the corpus of the arrays in a folder's folders
    pictures: list[pathlib.Path] = []
    for here, files in records.walk_folders(root):
        for file in files:
            path = here / file
            kind = path.suffix.lower()
            if kind == clip_files.ARRAY:
                if here.parent not in arrays:
                    arrays[here.parent] = _kind_of_array(path)
                kinds.setdefault(arrays[here.parent], []).append(path)
            elif kind == ".npz":
                kinds.setdefault("npz", []).append(path)
            elif kind in folder.CLIPS:
                kinds.setdefault("lsa64" if _LSA64.fullmatch(path.stem) else "folder", []).append(
                    path
                )
            elif kind in video.PICTURE_SUFFIXES:
                pictures.append(path)
            elif kind == ".csv" and here == root and set(folder.COLUMNS) <= _header(path, ","):
                return [FoundCorpus("folder", root, file)]
    kinds.pop("", None)
    if pictures and not kinds:
        kinds["folder"] = [path.parent for path in pictures]
    folders = sorted({path.parent for path in kinds.pop("npz", [])})  # read one by one
    apart = [("npz", sorted(folder.glob("*.npz"))) for folder in folders]
    return [_found(name, paths, root) for name, paths in (*kinds.items(), *apart)]


def _kind_of_array(path: pathlib.Path) -> str:
    """Returns mp_data for a frame, folder for a clip, '' for text: a tutorial's list of signs."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # it may be large
    except Exception:  # damage can raise almost anything; the corpus's reader will name it
        return "mp_data"
    if array.dtype.kind not in "fiu":
        return ""
    return "mp_data" if array.ndim == 1 else "folder"


def _found(name: str, paths: list[pathlib.Path], root: pathlib.Path) -> FoundCorpus:
    above = {"mp_data": 2, "npz": 0, "lsa64": 0, "folder": 1}[name]  # folders of sign, of sequence
    tops = {path.parents[min(above, len(path.relative_to(root).parents) - 1)] for path in paths}
    top = pathlib.Path(os.path.commonpath(tops))
    return FoundCorpus(name, top, f"{len(paths)} files like {paths[0].relative_to(root)}")

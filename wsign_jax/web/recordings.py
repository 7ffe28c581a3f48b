"""Keeps what the page records: a folder of takes that `tools/prepare_corpus.py auto` imports.

A take is a .npz of keypoints at 60 Hz, as `data/corpora/npz.py` reads them: keypoints (1, T, 42, 3) and
present (1, T, 2), with glosses, signer, session, fps and aspect.
"""

import collections
import pathlib
import re
import secrets
import tempfile
import time

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import npz
from wsign_jax.data.corpora.records import Record
from wsign_jax.data.vocab import BLANK

MOST_BYTES = 16 * 2**20  # of a take, which is some 30 KB a second
_MOST_NAME = 200  # letters of a gloss or a signer
_NAME = re.compile(r"take-\d{8}-\d{6}-[0-9a-f]{8}\.npz")


class Recordings:
    """The takes in a folder; the names of files are made here, never by a client."""

    def __init__(self, folder: pathlib.Path):
        """Opens a folder, which is made if it is missing.

        Raises:
            WSignError: the folder holds other files, or a take that cannot be read.
        """
        files.make_folder(folder)
        files.check_writable(folder / "take.npz")
        others = [
            p.name for p in folder.iterdir() if p.name[0] != "." and not _NAME.fullmatch(p.name)
        ]
        if others:
            raise WSignError(
                f"{folder}: holds {others[0]}, which is no take of this page; name a new folder with "
                "--record=DIR"
            )
        self.folder = folder
        self._glosses: dict[str, str] = {}  # of each take, by its name
        if any(folder.glob("*.npz")):
            corpus = npz.read(folder)
            if corpus.problems:
                raise WSignError(f"{corpus.problems[0]}, or delete it")
            names = [
                pathlib.Path(record.where.rpartition(":")[0]).name for record in corpus.records
            ]
            self._glosses = {
                name: " ".join(record.glosses)
                for name, record in zip(names, corpus.records, strict=True)
            }

    def counts(self) -> dict[str, int]:
        """Returns how many takes there are of each gloss."""
        return dict(sorted(collections.Counter(self._glosses.values()).items()))

    def save(self, content: bytes) -> str:
        """Keeps a take, checked as the import checks it, and returns its name.

        Raises:
            WSignError: it is not a take.
            OSError: it cannot be written.
        """
        gloss = _check_take(content)
        name = time.strftime("take-%Y%m%d-%H%M%S-") + secrets.token_hex(4) + ".npz"
        files.write(self.folder / name, content)
        self._glosses[name] = gloss
        return name

    def remove(self, name: str) -> None:
        """Deletes a take.

        Raises:
            WSignError: there is none of this name.
            OSError: it cannot be deleted.
        """
        if name not in self._glosses:
            raise WSignError("there is no such take; load the page again")
        (self.folder / name).unlink(missing_ok=True)
        self._glosses.pop(name, None)  # another window may have been faster


def _check_take(content: bytes) -> str:
    """Checks a take as the import does, and returns its gloss."""
    unnamed = secrets.token_hex(8)  # the gloss of a file that names none is the file's name
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / f"{unnamed}.npz").write_bytes(content)
        corpus = npz.read(pathlib.Path(folder))
        if corpus.problems or len(corpus.records) != 1 or corpus.records[0].split:
            raise WSignError("what was sent is not one take of this page; load the page again")
        gloss = _gloss_of(corpus.records[0])
        if gloss in (unnamed, BLANK):
            raise WSignError("the take has no gloss; name the sign")
        return gloss


def _gloss_of(record: Record) -> str:
    if not record.keypoints or not (record.keypoints().confidence > 0).any():
        raise WSignError("no hand was seen in the take; sign it again")
    gloss = " ".join(record.glosses)
    files.check_id(record.id, "the take's id")
    for name, what in ((gloss, "the gloss"), (record.signer or "-", "the signer's name")):
        files.check_line(name, what)
        if len(name) > _MOST_NAME:
            raise WSignError(f"{what} has over {_MOST_NAME} letters; shorten it")
    return gloss

"""A user's own folder: videos, and a CSV with the header `filename,glosses[,signer][,split]`."""

import pathlib

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data import layout
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus, Record

_SPLITS = {name: name for name in layout.SPLITS} | {"dev": "val", "": ""}


def read(root: pathlib.Path, csv: pathlib.Path | None = None, fps: float = 25.0) -> Corpus:
    """Reads the CSV; glosses are separated by spaces, file names are relative to `root`.

    A file name may also name a folder of pictures. An example's id is the file's name without folders
    and ending. Rows without a split get one by signer, or alone if they have no signer.

    Args:
        root: the folder of the videos.
        csv: the CSV; without it, the only one in `root`.
        fps: the rate of the pictures, for file names that name a folder.

    Raises:
        WSignError: the CSV is missing, its header lacks a column, or `fps` is not over 0.
    """
    records.check_positive("fps", fps)
    rows, problems = tables.read_table(csv or _find_csv(root), ("filename", "glosses"))
    found: list[Record] = []
    for row in rows:
        try:
            found.append(_record(row, root, fps))
        except WSignError as error:
            problems.append(str(error))
    glosses = tuple(gloss for record in found for gloss in record.glosses)
    present, missing = records.check_sources(found)
    return Corpus("folder", tuple(present), (*problems, *missing), glosses=glosses)


def _find_csv(root: pathlib.Path) -> pathlib.Path:
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    tables_here = sorted(root.glob("*.csv"))
    if len(tables_here) != 1:
        what = "no .csv" if not tables_here else f"{len(tables_here)} .csv files"
        raise WSignError(f"{root}: {what} in it; name the annotations with --csv=FILE")
    return tables_here[0]


def _record(row: Row, root: pathlib.Path, fps: float) -> Record:
    where, fields = row
    filename, glosses = fields["filename"], tuple(fields["glosses"].split())
    split = fields.get("split", "").lower()
    if not filename:
        raise WSignError(f"{where}: no filename")
    if not glosses:
        raise WSignError(f"{where}: no glosses for {filename}")
    if split not in _SPLITS:
        raise WSignError(f"{where}: split {split!r}; write train, val or test")
    source = root / filename
    pictures = source.is_dir()
    return Record(
        _SPLITS[split],
        source.name if pictures else source.stem,
        glosses,
        where,
        signer=fields.get("signer", ""),
        source=source,
        fps=fps if pictures else None,
    )

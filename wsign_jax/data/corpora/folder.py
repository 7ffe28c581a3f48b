"""A user's own folder of clips, with a CSV of what is signed, or with that in the folders' names.

<any>.csv          filename,glosses[,signer][,split], for sentences too
<sign>/<n>.mp4     without a CSV; folders above those of signs are people, sessions or splits
<sign>.mp4         without a CSV, a clip a sign
A clip is a video, a folder of pictures, a .pose file, or a .npy of MediaPipe Holistic's vectors, which
may lie in a folder of its own: <sign>/<n>/sequence.npy.
"""

import dataclasses
import functools
import pathlib

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data.corpora import aspects, clip_files, people, records
from wsign_jax.data.corpora.records import Corpus, Record
from wsign_jax.keypoints import video

COLUMNS = ("filename", "glosses")
CLIPS = video.VIDEO_SUFFIXES | clip_files.SUFFIXES

_PICTURES_FPS = 25.0


def read(
    root: pathlib.Path,
    csv: pathlib.Path | None = None,
    fps: float | None = None,
    aspect: float | None = None,
    swap_hands: bool = False,
) -> Corpus:
    """Reads the CSV, or the names of folders; the clips are read later.

    In a CSV glosses are separated by spaces, and file names are relative to `root`; rows without a split
    get one by signer, or alone if they have no signer. An example's id is made of its path.

    Args:
        root: the folder of the clips.
        csv: the CSV; without it, the only one in `root`; without that, folders' names are the glosses.
        fps: the rate of folders of pictures (25) and of .npy files (30).
        aspect: width / height of the pictures of .npy files; None measures it at faces, see `aspects`.
        swap_hands: exchanges left and right in .npy and .pose files.

    Raises:
        WSignError: there is no clip, an option is out of range, there are several CSVs, or the CSV is
            missing or its header lacks a column.
    """
    rate = records.frame_rate(fps)
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    table = csv or _find_csv(root)
    corpus = _read_table(root, table) if table else _read_names(root)
    sources = {record: record.source for record in corpus.records if record.source is not None}
    arrays = [path for path in sources.values() if path.suffix.lower() == clip_files.ARRAY]
    picture = aspects.guess_aspect(arrays, clip_files.face_ends, aspect)
    found = []
    for record, path in sources.items():
        if path.suffix.lower() in clip_files.SUFFIXES:
            load = functools.partial(
                clip_files.read_clip, path, rate.value, picture.value, swap_hands
            )
            found.append(dataclasses.replace(record, source=None, keypoints=load))
        else:
            pictures_fps = (fps or _PICTURES_FPS) if path.is_dir() else None
            found.append(dataclasses.replace(record, fps=pictures_fps))
    corpus = dataclasses.replace(corpus, records=tuple(found))
    if not arrays:
        return corpus
    recorded, notes = records.recorded_as(rate, {"": picture})
    return dataclasses.replace(corpus, notes=(*corpus.notes, *notes), recorded=recorded)


def _find_csv(root: pathlib.Path) -> pathlib.Path | None:
    tables_here = sorted(path for path in root.glob("*.csv") if path.name[0] != ".")
    if len(tables_here) > 1:
        raise WSignError(
            f"{root}: {len(tables_here)} .csv files in it; name the annotations with --csv=FILE"
        )
    return tables_here[0] if tables_here else None


def _read_table(root: pathlib.Path, table: pathlib.Path) -> Corpus:
    rows, problems = tables.read_table(table, COLUMNS)
    found: list[Record] = []
    for row in rows:
        try:
            found.append(_record(row, root))
        except WSignError as error:
            problems.append(str(error))
    glosses = tuple(gloss for record in found for gloss in record.glosses)
    present, missing = records.check_sources(found)
    return Corpus("folder", tuple(present), (*problems, *missing), glosses=glosses)


def _record(row: Row, root: pathlib.Path) -> Record:
    where, fields = row
    filename, glosses = fields["filename"], tuple(fields["glosses"].split())
    split = records.split_of(fields.get("split", ""))
    if not filename:
        raise WSignError(f"{where}: no filename")
    if not glosses:
        raise WSignError(f"{where}: no glosses for {filename}")
    if split is None:
        raise WSignError(f"{where}: split {fields['split']!r}; write train, val or test")
    id, signer = _id(pathlib.PurePath(filename)), fields.get("signer", "")
    return Record(split, id, glosses, where, signer, source=root / filename)


def _read_names(root: pathlib.Path) -> Corpus:
    signs = {clip: _sign_of(clip, root) for clip in _clips_below(root)}
    placed = people.place_sign_folders(sorted({sign.parent for sign in signs.values()}))
    above = {place.folder: place for place in placed}
    found = []
    for clip, sign in signs.items():
        place, id = above[sign.parent], _id(clip.relative_to(root))
        glosses = records.glosses_of(sign.stem if sign == clip else sign.name)
        found.append(
            Record(place.split, id, glosses, str(clip), place.signer, place.session, source=clip)
        )
    present, missing = records.check_sources(found)
    names = {gloss for record in found for gloss in record.glosses}
    note = (
        f"no CSV: {len(found):,} clips of {len(names):,} signs by the names of folders, such as "
        f"{found[-1].id}; a CSV is for sentences"
    )
    return Corpus(
        "folder", tuple(present), tuple(missing), (note, *people.describe_folders(placed))
    )


def _clips_below(root: pathlib.Path) -> list[pathlib.Path]:
    """Lists the clips in a folder and its subfolders, in the order of their names.

    Raises:
        WSignError: there are none.
    """
    found: list[pathlib.Path] = []
    for folder, files in records.walk_folders(root):
        # A tutorial's list of signs is an array in the root.
        kinds = CLIPS if folder != root else CLIPS - {clip_files.ARRAY}
        here = [folder / file for file in files if pathlib.PurePath(file).suffix.lower() in kinds]
        if not here and folder != root and video.pictures_in(folder):
            here = [folder]
        found += here
    if not found:
        raise WSignError(
            f"{root}: no videos in it, no folders of pictures, and no .pose or .npy; name another with "
            "--root=DIR"
        )
    return found


def _sign_of(clip: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """Returns the folder or file whose name is a clip's gloss."""
    folder = clip.parent
    if folder == root:
        return clip
    own = clip.suffix.lower() == clip_files.ARRAY and folder.name.isdecimal()
    return folder.parent if own and folder.parent != root and not clip.stem.isdecimal() else folder


def _id(path: pathlib.PurePath) -> str:
    """Returns the id of a clip: its path without the ending."""
    folders = [name for name in path.parts[:-1] if name not in (path.anchor, "..")]
    stem = path.stem if path.suffix.lower() in CLIPS else path.name
    return "_".join([*folders, stem])

"""Kaggle's "Google - American Sign Language Fingerspelling Recognition": phrases, spelled by 100 people.

train.csv, supplemental_metadata.csv   path,file_id,sequence_id,participant_id,phrase
<path>                                 a parquet file of about a thousand phrases, a row a frame, in the
                                       columns sequence_id,frame,x_left_hand_0,...,z_right_hand_20 and
                                       the face's and the body's; x and y are shares of the picture,
                                       NaN if absent

The form is the one that public code of the competition reads; the data were not at hand. They come
without a rate, and without splits: they are drawn, with no participant in two. A gloss is a character.
"""

import functools
import pathlib
from collections.abc import Callable

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data.corpora import aspects, parquet, records
from wsign_jax.data.corpora.records import Corpus, Keypoints, Record
from wsign_jax.keypoints import joints

TABLES = ("train.csv", "supplemental_metadata.csv")
COLUMNS = ("path", "file_id", "sequence_id", "participant_id", "phrase")
_MEASURED = 3  # files whose faces are measured: each has a thousand phrases
SPACE = "\N{OPEN BOX}"  # the gloss of a space, which cannot be one itself

_HANDS = [
    f"{axis}_{hand}_hand_{point}"
    for hand in ("left", "right")
    for point in range(joints.JOINTS_PER_HAND)
    for axis in "xyz"
]
_FACE = [f"{axis}_face_{point}" for point in aspects.FACE_ENDS for axis in "xy"]


def read(root: pathlib.Path, fps: float | None = None, aspect: float | None = None) -> Corpus:
    """Reads train.csv and supplemental_metadata.csv, or one of them; the parquet files are read later.

    Phrases whose file is not there are left out: a part of the corpus's 160 GB does as well.

    Args:
        root: the folder of the tables.
        fps: the frames' rate, which is not published. None: 30.
        aspect: width / height of the pictures; None measures it at faces.

    Raises:
        WSignError: there is no table, or one of another form; none of the files is there; or an option
            is out of range.
    """
    rate = records.frame_rate(fps)
    rows, problems, notes = parquet.read_tables(root, TABLES, COLUMNS)
    problems += [f"{row.where}: no phrase" for row in rows if not row.fields["phrase"]]
    paths = sorted({root / row.fields["path"] for row in rows})
    picture = aspects.guess_aspect(paths[:_MEASURED], _face_ends, aspect)
    # A file is read once for many phrases.
    phrases = functools.lru_cache(maxsize=1)(_phrases)
    found = tuple(
        _record(row, root / row.fields["path"], rate.value, picture.value, phrases)
        for row in rows
        if row.fields["phrase"]
    )
    recorded, said = records.recorded_as(rate, {"": picture})
    notes = [f"the gloss of a space is {SPACE}", *said, *notes]
    return Corpus("asl_fingerspelling", found, tuple(problems), tuple(notes), recorded=recorded)


_Phrases = Callable[[pathlib.Path], dict[int, tuple[np.ndarray, np.ndarray]]]


def _record(row: Row, path: pathlib.Path, fps: float, aspect: float, phrases: _Phrases) -> Record:
    fields = row.fields
    return Record(
        "",
        f"{fields['file_id']}_{fields['sequence_id']}",  # by file, so that each is read once a split
        tuple(SPACE if character == " " else character for character in fields["phrase"]),
        row.where,
        signer=fields["participant_id"],
        keypoints=functools.partial(_load, path, fields["sequence_id"], fps, aspect, phrases),
    )


def _load(
    path: pathlib.Path, sequence: str, fps: float, aspect: float, phrases: _Phrases
) -> Keypoints:
    inside = phrases(path)
    if not sequence.isdecimal() or int(sequence) not in inside:
        raise WSignError(f"{path}: no frames of sequence {sequence} in it")
    frames, hands = inside[int(sequence)]
    return records.to_keypoints(
        hands, records.seen_where_not_zero(hands), (frames - frames[0]) / fps, aspect, False
    )


def _phrases(path: pathlib.Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Returns frames' numbers (t,) and hands (t, 42, 3), NaN if absent, by sequence."""
    columns = parquet.read_columns(path, ("sequence_id", "frame", *_HANDS))
    sequence, frame = (
        parquet.number_column(columns, name, path) for name in ("sequence_id", "frame")
    )
    if not (np.isfinite(sequence).all() and np.isfinite(frame).all()):
        raise WSignError(f"{path}: rows without a sequence_id or a frame")
    hands = np.stack([parquet.number_column(columns, name, path) for name in _HANDS], axis=1)
    order = np.lexsort((frame, sequence))
    ids, starts = np.unique(sequence[order], return_index=True)
    hands = hands.reshape(-1, joints.NUM_JOINTS, 3)
    return {
        int(id): (frame[rows], hands[rows])
        for id, rows in zip(ids, np.split(order, starts[1:]), strict=True)
    }


def _face_ends(path: pathlib.Path) -> np.ndarray:
    columns = parquet.read_columns(path, _FACE)
    return np.stack([parquet.number_column(columns, name, path) for name in _FACE], 1).reshape(
        -1, 4, 2
    )

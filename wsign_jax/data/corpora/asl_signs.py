"""Kaggle's "Google - Isolated Sign Language Recognition" (ASL Signs): 250 signs by 21 participants.

train.csv                          path,participant_id,sequence_id,sign
<path>                             a parquet file a sequence; a row a landmark of a frame, in the columns
                                   frame,row_id,type,landmark_index,x,y,z: type is face, left_hand, pose
                                   or right_hand, x and y are shares of the picture, NaN if absent
sign_to_prediction_index_map.json  {"TV": 0, "after": 1, ...}

The form is the one that public code of the competition reads; the data were not at hand. They come
without a rate, and without splits: they are drawn, with no participant in two.
"""

import functools
import pathlib

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data.corpora import aspects, parquet, records
from wsign_jax.data.corpora.records import Corpus, Keypoints, Record

_MOST_FRAMES = 10_000  # far above the corpus's
COLUMNS = ("path", "participant_id", "sequence_id", "sign")


def read(root: pathlib.Path, fps: float | None = None, aspect: float | None = None) -> Corpus:
    """Reads train.csv; the parquet files are read later, one by one.

    The vocabulary's ids are the published indices plus 1. Sequences whose file is not there are left
    out.

    Args:
        root: the folder of train.csv.
        fps: the frames' rate, which is not published. None: 30.
        aspect: width / height of the pictures; None measures it at the faces of some sequences.

    Raises:
        WSignError: train.csv is missing or of another form, none of its files is there, or an option is
            out of range.
    """
    rate = records.frame_rate(fps)
    rows, problems, notes = parquet.read_tables(root, ("train.csv",), COLUMNS)
    problems += [f"{row.where}: no sign" for row in rows if not row.fields["sign"]]
    paths = [root / row.fields["path"] for row in rows]
    picture = aspects.guess_aspect(paths, _face_ends, aspect)
    found = [
        _record(row, path, rate.value, picture.value)
        for row, path in zip(rows, paths, strict=True)
        if row.fields["sign"]
    ]
    recorded, said = records.recorded_as(rate, {"": picture})
    index = root / "sign_to_prediction_index_map.json"
    glosses = tuple(files.read_json(index)) if index.is_file() else ()
    return Corpus("asl_signs", tuple(found), tuple(problems), (*said, *notes), glosses, recorded)


def _record(row: Row, path: pathlib.Path, fps: float, aspect: float) -> Record:
    fields = row.fields
    return Record(
        "",
        f"{fields['participant_id']}_{fields['sequence_id']}",
        ("-".join(fields["sign"].split()),),
        row.where,
        signer=fields["participant_id"],
        keypoints=functools.partial(_load, path, fps, aspect),
    )


def _load(path: pathlib.Path, fps: float, aspect: float) -> Keypoints:
    frames, hands = _points(path, {"left_hand": 21, "right_hand": 21})
    return records.to_keypoints(
        hands, records.seen_where_not_zero(hands), (frames - frames[0]) / fps, aspect, False
    )


def _face_ends(path: pathlib.Path) -> np.ndarray:
    return _points(path, {"face": 468})[1][:, aspects.FACE_ENDS, :2]


def _points(path: pathlib.Path, kinds: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames' numbers (t,) and the landmarks (t, sum of counts, 3) of these types."""
    columns = parquet.read_columns(path, ("frame", "type", "landmark_index", "x", "y", "z"))
    frame, number, *xyz = (
        parquet.number_column(columns, name, path)
        for name in ("frame", "landmark_index", "x", "y", "z")
    )
    frames, row = np.unique(frame, return_inverse=True)
    if len(frames) > _MOST_FRAMES:
        raise WSignError(f"{path}: over {_MOST_FRAMES} frames; is it this corpus's file?")
    points = np.full((len(frames), sum(kinds.values()), 3), np.nan)
    first = 0
    for kind, count in kinds.items():
        here = (columns["type"] == kind) & (number >= 0) & (number < count)
        points[row[here], first + number[here].astype(int)] = np.stack(xyz, axis=1)[here]
        first += count
    if not len(frames) or not np.isfinite(frames).all():
        raise WSignError(f"{path}: no frames in it, or frames without a number")
    return frames, points

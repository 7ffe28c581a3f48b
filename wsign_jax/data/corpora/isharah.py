"""Isharah, as the challenges MSLR 2025 and 2026 ship it: Saudi sentences by 18 signers with phones.

<...>/SI/train.csv, dev.csv   id|gloss, perhaps |text; or .txt. SI: signers of dev and test do not train;
                              US: sentences of dev and test do not train. test.csv or test_orig.csv too
<...>/*.pkl                   {"02_0001": {"keypoints": (T, 86, 2) floats}, ...} in pixels: 21 points of
                              the right hand, 21 of the left, 19 of the lips, 25 of the body; 0 if absent

The form is that of the challenges' starter kit (github.com/gufranSabri/Pose86K-CSLR-Isharah) and its
annotations; the data were not at hand. An id begins with the signer. The keypoints have no depth, no
rate and no picture's size. Depth is 0 here, so a model of them is for such keypoints, not for videos.
The shoulders of a clip are put in the middle of a picture that is three times as wide as they are.
"""

import functools
import pathlib

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data.corpora import array_pickle, records
from wsign_jax.data.corpora.records import Corpus, Keypoints, KnownValue, Record
from wsign_jax.keypoints import joints

TRAIN = ("train.csv", "train.txt")
COLUMNS = ("id", "gloss")

_TABLES = {
    "train": TRAIN,
    "val": ("dev.csv", "dev.txt"),
    "test": ("test.csv", "test.txt", "test_orig.csv"),
}
_POINTS = 86
_HANDS = [*range(21, 42), *range(21)]  # left, then right
_SHOULDERS = [72, 73]
_WIDTH_IN_SHOULDERS = 3.0


def read(
    root: pathlib.Path, annotations: pathlib.Path | None = None, fps: float | None = None
) -> Corpus:
    """Reads the annotations, and the keypoints of all their clips, which stay in memory.

    Rows without a gloss, as in a challenge's test, are left out. Without a test that has them, every
    second clip of dev is taken for it.

    Args:
        root: a folder with the pickles, at any depth.
        annotations: the folder of train.csv; None takes the only one below `root`.
        fps: the keypoints' rate, which is not published. None: 30.

    Raises:
        WSignError: annotations or pickles are missing, several could be meant, or one is damaged or of
            another form.
    """
    rate = records.frame_rate(fps)
    folder = annotations or _find_annotations(root)
    rows: dict[str, list[Row]] = {}
    problems: list[str] = []
    for split, names in _TABLES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None and split == "train":
            raise WSignError(
                f"{folder}: no train.csv in it; name its folder with --annotations=DIR"
            )
        found, broken = ([], []) if path is None else tables.read_table(path, COLUMNS, "|")
        rows[split] = [row for row in found if row.fields["gloss"]]
        problems += broken
    recorded, notes = records.recorded_as(rate, {"": KnownValue(1.0, records.GIVEN)})
    notes.append(f"annotations of {folder}")
    if rows["val"] and not rows["test"]:
        rows["val"], rows["test"] = rows["val"][::2], rows["val"][1::2]
        notes.append("no glosses of a test: every second clip of dev is taken for it")
    points = _read_points(root, {row.fields["id"] for some in rows.values() for row in some})
    clips = []
    for split, some in rows.items():
        for where, fields in some:
            id, glosses = fields["id"], tuple(fields["gloss"].split())
            if id not in points:
                problems.append(f"{where}: no keypoints of {id} in the .pkl files")
                continue
            load = functools.partial(_keypoints, points[id], rate.value, where)
            signer = id.partition("_")[0]
            clips.append(Record(split, id, glosses, where, signer, keypoints=load))
    return Corpus("isharah", tuple(clips), tuple(problems), tuple(notes), recorded=recorded)


def _find_annotations(root: pathlib.Path) -> pathlib.Path:
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    folders = sorted({path.parent for name in TRAIN for path in root.rglob(name)})
    if len(folders) != 1:
        some = ", ".join(str(folder.relative_to(root)) for folder in folders) or "none"
        raise WSignError(
            f"{root}: train.csv must be in one folder, and is in {some}; name SI's or US's with "
            "--annotations=DIR"
        )
    return folders[0]


def _read_points(root: pathlib.Path, wanted: set[str]) -> dict[str, np.ndarray]:
    """Returns hands and shoulders (T, 44, 2) float32 of the clips that are wanted, by id."""
    paths = sorted(path for path in root.rglob("*.pkl") if path.name[0] != ".")
    if not paths:
        raise WSignError(f"{root}: no .pkl in it; name the folder of the keypoints with --root=DIR")
    points: dict[str, np.ndarray] = {}
    for path in paths:
        clips = array_pickle.load_arrays(path) if len(points) < len(wanted) else {}
        if not isinstance(clips, dict):
            raise WSignError(f"{path}: not a dict of clips, as Isharah's are")
        for id in wanted.intersection(clips).difference(points):
            clip = clips[id]
            values = array_pickle.array_in(
                clip.get("keypoints") if isinstance(clip, dict) else clip
            )
            if (
                values is None
                or values.ndim != 3
                or values.shape[1:] != (_POINTS, 2)
                or not len(values)
            ):
                has = "no array" if values is None else str(list(values.shape))
                raise WSignError(f"{path}: keypoints of {id}: {has}, not (T, {_POINTS}, 2)")
            points[id] = values[:, _HANDS + _SHOULDERS].astype(np.float32)
    return points


def _keypoints(points: np.ndarray, fps: float, where: str) -> Keypoints:
    hands, shoulders = points[:, : joints.NUM_JOINTS].astype(np.float64), points[:, -2:]
    seen = joints.plausible(shoulders).all((1, 2)) & shoulders.any(-1).all(-1)
    width = (
        np.median(np.linalg.norm(np.diff(shoulders[seen], axis=1), axis=-1)) if seen.any() else 0.0
    )
    if not width > 0:
        raise WSignError(f"{where}: no shoulders to measure by")
    present = records.seen_where_not_zero(hands)
    middle = np.median(shoulders[seen].mean(axis=1), axis=0)
    placed = 0.5 + (hands - middle) / (_WIDTH_IN_SHOULDERS * width)
    positions = np.concatenate([placed, np.zeros_like(placed[..., :1])], axis=-1)
    return records.to_keypoints(positions, present, np.arange(len(points)) / fps, 1.0, False)

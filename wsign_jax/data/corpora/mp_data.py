"""The layout of many student projects: a file of MediaPipe Holistic keypoints for every frame.

MP_Data/<sign>/<sequence>/<frame>.npy   a vector; its last 126 values are the left hand's 21 x 3, then
                                        the right hand's; zeros if a hand was not seen

Vectors of 1662 values hold a face too, whose height over its width tells the pictures' aspect. Folders
of people, sessions and splits may lie above the signs; see `people`.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import aspects, people, records
from wsign_jax.data.corpora.records import Corpus, Keypoints, KnownValue, Record
from wsign_jax.keypoints import joints

_VALUES = joints.NUM_JOINTS * 3
_LAST_FRAME = 10**9
_FIX = "record it again"
# Where 468 points of a face begin, by the vector's length: with a pose before them, or without.
_FACE = {1662: 132, 1692: 132, 1530: 0, 1560: 0}
# Vectors without both hands, by length.
_OTHERS = {
    42: "one hand without z",
    63: "one hand",
    84: "two hands without z",
    99: "a pose",
    132: "a pose",
    1404: "a face",
    1434: "a face",
    1536: "a pose and a face",
}


def read(
    root: pathlib.Path,
    fps: float | None = None,
    aspect: float | None = None,
    swap_hands: bool = False,
    sessions: pathlib.Path | None = None,
) -> Corpus:
    """Reads folder and file names; the frames are read later, when a record's keypoints are read.

    Args:
        root: `MP_Data`, or a folder above it.
        fps: the frames' rate; a frame's number / fps is its time in seconds. None: 30.
        aspect: width / height of the pictures, because y is in image heights; 1 changes nothing. None:
            what the faces show, or 4/3.
        swap_hands: exchanges left and right.
        sessions: a CSV `sign,sequence` with any of `session`, `signer` and `split`, which goes before
            what the folders say, and `folder`, if it is for one of several.

    Raises:
        WSignError: there are no sequences, an option is out of range, or the CSV is broken.
    """
    rate = records.frame_rate(fps)
    trees = people.find_sign_folders(root, _is_sequence)
    if not trees:
        raise WSignError(
            f"{root}: no <sign>/<sequence>/<frame>.npy in it; name MP_Data with --root=DIR"
        )
    table = {} if sessions is None else _read_sessions(sessions)
    used: set[tuple[str, str, str]] = set()
    notes = [*people.describe_folders(trees), *people.describe_siblings(root, _is_sequence)]
    found: list[Record] = []
    problems: list[str] = []
    shapes: dict[str, KnownValue[float]] = {}
    for tree in trees:
        of_tree = _sequences(tree, problems)
        picture = aspects.guess_aspect(of_tree, _face_ends, aspect)
        folder = "/".join(tree.names)
        shapes[folder or tree.folder.name] = picture
        for sequence in of_tree:
            keys = [(name, sequence.parent.name, sequence.name) for name in (folder, "")]
            row = next((table[key] for key in keys if key in table), {})
            used.update(keys)
            load = functools.partial(_load, sequence, rate.value, picture.value, swap_hands)
            found.append(_record(tree, sequence, row, load))
    if unknown := table.keys() - used:
        row_of = " ".join(min(unknown)).strip()
        notes.append(f"warning: {sessions}: {len(unknown)} rows name no sequence, such as {row_of}")
    recorded, said = records.recorded_as(rate, shapes)
    return Corpus("mp_data", tuple(found), tuple(problems), (*notes, *said), recorded=recorded)


def _record(
    tree: people.SignFolder,
    sequence: pathlib.Path,
    row: Mapping[str, str],
    load: Callable[[], Keypoints],
) -> Record:
    """Makes the record of a sequence; a row of the table of sessions goes before its folders."""
    sign = sequence.parent.name
    return Record(
        row.get("split") or tree.split,
        f"{tree.prefix}{'-'.join(sign.split())}_{sequence.name}",
        records.glosses_of(sign),
        str(sequence),
        row.get("signer") or tree.signer,
        row.get("session") or tree.session,
        keypoints=load,
    )


def _is_sequence(path: pathlib.Path) -> bool:
    return path.is_dir() and any(
        frame.suffix == ".npy" and frame.stem.isdecimal() for frame in path.iterdir()
    )


def _sequences(tree: people.SignFolder, problems: list[str]) -> list[pathlib.Path]:
    """Lists all signs' sequences in the order of their numbers; adds other folders to `problems`."""
    found = []
    for sign in records.subfolders(tree.folder):
        inside = sorted(records.subfolders(sign), key=_number)
        if not inside:
            problems.append(f"{sign}: no <sequence> folders in it")
        for sequence in inside:
            if sequence.name.isdecimal():
                found.append(sequence)
            else:
                problems.append(f"{sequence}: its name is not a sequence's number")
    return found


def _read_sessions(path: pathlib.Path) -> dict[tuple[str, str, str], dict[str, str]]:
    rows, problems = tables.read_table(path, ("sign", "sequence"))
    for where, fields in rows:
        split = fields["split"] = records.split_of(fields.get("split", ""))  # type: ignore[assignment]
        if split is None:
            problems.append(f"{where}: the split is none of train, val and test")
    table = {(row.get("folder", ""), row["sign"], row["sequence"]): row for _, row in rows}
    if not problems and len(table) < len(rows):
        problems.append(f"{path}: a sequence is in it twice; keep one")
    if problems:
        raise WSignError(problems[0])
    return table


def _number(path: pathlib.Path) -> int:
    return int(path.name) if path.name.isdecimal() else -1


def _face_ends(sequence: pathlib.Path) -> np.ndarray:
    """Reads `aspects.FACE_ENDS` (t, 4, 2) of a frame; t is 0 if vectors have no face."""
    frames = sorted(path for path in sequence.glob("*.npy") if path.stem.isdecimal())
    vector = records.read_numbers(frames[len(frames) // 2], _FIX) if frames else np.empty(0)
    start = _FACE.get(vector.size, vector.size)
    return vector.ravel()[start : start + 468 * 3].reshape(-1, 468, 3)[:, aspects.FACE_ENDS, :2]


def _load(sequence: pathlib.Path, fps: float, aspect: float, swap_hands: bool) -> Keypoints:
    """Reads the frames of a sequence; raises a `WSignError` that names the first broken file."""
    paths = {path: path.stem for path in sequence.glob("*.npy") if path.stem.isdecimal()}
    if not paths:
        raise WSignError(f"{sequence}: no <frame>.npy in it")
    frames = sorted(paths, key=lambda path: int(paths[path]))
    positions = np.stack([_load_frame(path) for path in frames])
    present = records.seen_where_not_zero(positions)
    if int(paths[frames[-1]]) > _LAST_FRAME:
        raise WSignError(f"{frames[-1]}: its number is over {_LAST_FRAME}; rename it")
    times = np.array([int(paths[path]) for path in frames]) / fps
    return records.to_keypoints(positions, present, times, aspect, swap_hands)


def _load_frame(path: pathlib.Path) -> np.ndarray:
    """Reads the (42, 3) positions of one frame."""
    vector = records.read_numbers(path, _FIX)
    if vector.ndim == 1 and (what := _OTHERS.get(len(vector))):
        raise WSignError(
            f"{path}: {len(vector)} values are {what}; both hands' 2 x 21 x 3 are needed"
        )
    if vector.ndim != 1 or len(vector) < _VALUES:
        raise WSignError(
            f"{path}: {vector.dtype}{list(vector.shape)} is not a vector of {_VALUES} or more numbers"
        )
    return vector[-_VALUES:].reshape(joints.NUM_JOINTS, 3).astype(np.float64)

"""The layout of many student projects: a file of MediaPipe Holistic keypoints for every frame.

MP_Data/<sign>/<sequence>/<frame>.npy   a vector; its last 126 values are the left hand's 21 x 3, then
                                        the right hand's; zeros if a hand was not seen
"""

import functools
import pathlib

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus, Keypoints, Record
from wsign_jax.keypoints import joints

_VALUES = joints.NUM_JOINTS * 3
_LAST_FRAME = 10**9


def read(
    root: pathlib.Path,
    fps: float = 30.0,
    aspect: float = 1.0,
    swap_hands: bool = False,
    session_size: int = 30,
    sessions: pathlib.Path | None = None,
) -> Corpus:
    """Reads folder and file names; the frames are read later, when a record's keypoints are read.

    Args:
        root: `MP_Data`, or the folder that holds it.
        fps: the frames' rate; a frame's number / fps is its time in seconds.
        aspect: width / height of the pictures, because y is in image heights; 1 changes nothing.
        swap_hands: exchanges left and right.
        session_size: how many sequences, by number, were recorded in one session; 30 in the tutorial
            that the layout comes from.
        sessions: a CSV `sign,sequence,session[,signer]`, which overrides `session_size`.

    Raises:
        WSignError: there are no sequences, an option is out of range, or the CSV is broken.
    """
    records.check_positive("fps", fps)
    records.check_aspect(aspect)
    records.check_positive("session_size", session_size)
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    if (root / "MP_Data").is_dir():
        root = root / "MP_Data"
    known = {} if sessions is None else _read_sessions(sessions)
    found: list[Record] = []
    problems: list[str] = []
    for sign in records.subfolders(root):
        gloss = "-".join(sign.name.split())
        sequences = sorted(records.subfolders(sign), key=_number)
        if not sequences:
            problems.append(f"{sign}: no <sequence> folders in it")
        for sequence in sequences:
            if not sequence.name.isdecimal():
                problems.append(f"{sequence}: its name is not a sequence's number")
                continue
            session, signer = known.get(
                (sign.name, sequence.name), (f"{gloss}-{_number(sequence) // session_size}", "")
            )
            load = functools.partial(_load, sequence, fps, aspect, swap_hands)
            id = f"{gloss}_{sequence.name}"
            found.append(Record("", id, (gloss,), str(sequence), signer, session, keypoints=load))
    if not found:
        raise WSignError(
            f"{root}: no <sign>/<sequence>/<frame>.npy in it; name MP_Data with --root=DIR"
        )
    return Corpus("mp_data", tuple(found), tuple(problems))


def _read_sessions(path: pathlib.Path) -> dict[tuple[str, str], tuple[str, str]]:
    rows, problems = tables.read_table(path, ("sign", "sequence", "session"))
    if problems:
        raise WSignError(problems[0])
    return {
        (fields["sign"], fields["sequence"]): (fields["session"], fields.get("signer", ""))
        for _, fields in rows
    }


def _number(path: pathlib.Path) -> int:
    return int(path.name) if path.name.isdecimal() else -1


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
    try:
        with path.open("rb") as file:
            vector = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # damage can raise almost anything
        raise WSignError(f"{path}: {validate.unreadable_reason(error)}; record it again") from None
    if vector.ndim != 1 or len(vector) < _VALUES or vector.dtype.kind not in "fiu":
        raise WSignError(
            f"{path}: {vector.dtype}{list(vector.shape)} is not a vector of {_VALUES} or more numbers"
        )
    return vector[-_VALUES:].reshape(joints.NUM_JOINTS, 3).astype(np.float64)

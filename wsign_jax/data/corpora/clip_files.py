"""Keypoints of one clip in one file: .pose files, and .npy arrays of MediaPipe Holistic's vectors."""

import pathlib

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import aspects, records
from wsign_jax.data.corpora.records import Keypoints
from wsign_jax.keypoints import joints, pose_file

ARRAY = ".npy"
SUFFIXES = frozenset({ARRAY, pose_file.SUFFIX})

_HANDS = joints.NUM_JOINTS * 3
_BODY, _FACE = 33 * 4, 468 * 3
_VALUES = (_HANDS, _BODY + _HANDS, _BODY + _FACE + _HANDS)


def read_clip(path: pathlib.Path, fps: float, aspect: float, swap_hands: bool) -> Keypoints:
    """Reads a file of `SUFFIXES`.

    Args:
        path: the file. An array is (T, 126), (T, 258) or (T, 1662): the last 126 values are the left
            hand's 21 x 3, then the right hand's, all zeros if a hand was not seen.
        fps: an array's rate; .pose files have their own.
        aspect: width / height of the pictures of an array, whose y is in picture heights.
        swap_hands: exchanges left and right.

    Raises:
        WSignError: the file is damaged, or holds something else.
    """
    if path.suffix.lower() == pose_file.SUFFIX:
        positions, present, fps = pose_file.read_pose(path)
        aspect = 1.0  # pixels
    else:
        positions = read_array(path)[:, -_HANDS:].reshape(-1, joints.NUM_JOINTS, 3)
        present = records.seen_where_not_zero(positions)
    return records.to_keypoints(
        positions, present, np.arange(len(positions)) / fps, aspect, swap_hands
    )


def face_ends(path: pathlib.Path) -> np.ndarray:
    """Reads `aspects.FACE_ENDS` of an array, (t, 4, 2), or (0, 4, 2) if it has no face."""
    array = read_array(path)
    face = array[:, _BODY : _BODY + _FACE] if array.shape[1] == _VALUES[2] else array[:0, :_FACE]
    return (
        face.reshape(len(face), -1, 3)[:, aspects.FACE_ENDS, :2]
        if len(face)
        else np.empty((0, 4, 2))
    )


def read_array(path: pathlib.Path) -> np.ndarray:
    """Reads the array (T, 126 | 258 | 1662) of a .npy as float64; raises as `read_clip` does."""
    array = records.read_numbers(path, "save it again")
    if array.ndim != 2 or array.shape[1] not in _VALUES:
        what = f"{array.dtype}{list(array.shape)}"
        hint = "; folders of such frames are read with mp_data" if array.ndim == 1 else ""
        raise WSignError(f"{path}: {what} is not (T, 126), (T, 258) or (T, 1662) numbers{hint}")
    if not len(array):
        raise WSignError(f"{path}: no frames in it")
    return array.astype(np.float64)

"""Checks one example: its arrays, and whether CTC can emit its labels."""

import dataclasses
import io
import math
import pathlib
import threading

import numpy as np

from wsign_jax.keypoints import joints


@dataclasses.dataclass(frozen=True)
class Rules:
    """The loader's rules for an example, beyond being readable."""

    vocab_size: int
    patch_size: int
    max_seq_length: int


def patches_needed(labels: np.ndarray) -> int:
    """Counts the patches that CTC needs to emit `labels` (U,): one each, a blank between repeats."""
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def patches_of(frames: int, patch_size: int) -> int:
    """Counts the patches in a sequence of `frames`; the last one may be partly empty."""
    return -(-frames // patch_size)


def load(path: pathlib.Path) -> np.ndarray | str:
    """Loads the array in a .npy, or returns what is wrong with it."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            return f"{path}: is no file"
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError:
        return f"{path}: missing"
    except Exception as error:  # a damaged header can raise almost anything
        return f"{path}: {unreadable(error)}"


def unreadable(error: Exception) -> str:
    """The message for an array whose reading raised this error."""
    return f"unreadable ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


# NumPy reads a header with `ast.literal_eval`, whose guard against deep nesting counts all threads
# together (seen with Python 3.11). Without the lock, a good file among thousands sometimes fails with
# "AST constructor recursion depth mismatch".
_ONE_HEADER_AT_A_TIME = threading.Lock()


def read(file: io.BufferedIOBase) -> np.ndarray:
    """Reads the array of a .npy from the current position of a file.

    Raises:
        Exception: of any kind, if the file is damaged or not a .npy.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f".npy of version {version}; save it again with numpy.save")
    with _ONE_HEADER_AT_A_TIME:
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers")
    count = math.prod(shape)
    array = np.empty(count, dtype)
    got = file.readinto(array.view(np.uint8).data) // dtype.itemsize
    if got < count:
        raise ValueError(f"cut off: {got} of {count} numbers")
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def feature_problem(features: np.ndarray) -> str | None:
    """Says what is wrong with keypoints that should be (T, 42, 7) float32, or returns None."""
    expected = (joints.NUM_JOINTS, joints.NUM_FEATURES)
    if features.ndim != 3 or features.shape[1:] != expected:
        return f"shape {features.shape} is not (T, {expected[0]}, {expected[1]})"
    if features.dtype != np.float32:
        return f"dtype {features.dtype} is not float32"
    if len(features) == 0:
        return "has no frames"
    # Least and most are NaN if any number is.
    if not joints.plausible(np.array([features.min(), features.max()])).all():
        frame, joint, feature = np.argwhere(~joints.plausible(features))[0]
        value = features[frame, joint, feature]
        if not np.isfinite(value):
            return f"has NaN or infinity, first in frame {frame}"
        return f"has {value:.3g} in frame {frame}, joint {joint}, feature {feature}: no keypoint's"
    return None


def hand_problem(features: np.ndarray) -> str | None:
    """Says if keypoints (T, 42, 7) show a hand in no frame, or returns None.

    Such keypoints are well formed, but the model learns nothing from them.
    """
    return None if joints.seen_hands(features).any() else "no hand is in it; leave it out"


def length_problem(features: np.ndarray, rules: Rules) -> str | None:
    """Says what is wrong with the length of keypoints, or returns None."""
    if len(features) > rules.max_seq_length:
        return (
            f"{len(features)} frames are over data.max_seq_length={rules.max_seq_length}; "
            "cut the video at a pause, or raise it"
        )
    return None


def id_problem(labels: np.ndarray, vocab_size: int) -> str | None:
    """Says what is wrong with a list of gloss ids, or returns None."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return f"{labels.dtype}{list(labels.shape)} is not a (U,) array of integers"
    if len(labels) == 0:
        return "has no labels"
    outside = labels[(labels < 1) | (labels >= vocab_size)]
    if len(outside):
        return f"gloss id {outside[0]} is not in the vocabulary (1 to {vocab_size - 1})"
    return None


def label_problem(labels: np.ndarray, frames: int, rules: Rules) -> str | None:
    """Says what is wrong with the labels of an example of `frames` frames, or returns None."""
    problem = id_problem(labels, rules.vocab_size)
    if problem:
        return problem
    patches, needed = patches_of(frames, rules.patch_size), patches_needed(labels)
    if patches < needed:
        return (
            f"CTC cannot emit {len(labels)} glosses ({needed} patches with a blank between repeats) "
            f"in {frames} frames ({patches} patches)"
        )
    return None

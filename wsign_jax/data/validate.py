"""Checks one example: its arrays, and whether CTC can emit its labels."""

import dataclasses
import io
import math
import pathlib
import threading

import numpy as np

from wsign_jax.common.errors import WSignError
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


def load(path: pathlib.Path) -> np.ndarray:
    """Loads the array in a .npy.

    Raises:
        WSignError: the file is missing or damaged.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            raise ValueError("not a file")
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError:
        raise WSignError(f"{path}: missing") from None
    except Exception as error:  # a damaged header can raise almost anything
        raise WSignError(f"{path}: {unreadable(error)}") from None


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


def check_features(features: np.ndarray, place: str) -> None:
    """Raises a `WSignError` that begins with `place` if keypoints are not (T, 42, 7) float32."""
    expected = (joints.NUM_JOINTS, joints.NUM_FEATURES)
    if features.ndim != 3 or features.shape[1:] != expected:
        raise WSignError(
            f"{place}: shape {features.shape} is not (T, {expected[0]}, {expected[1]})"
        )
    if features.dtype != np.float32:
        raise WSignError(f"{place}: dtype {features.dtype} is not float32")
    if len(features) == 0:
        raise WSignError(f"{place}: has no frames")
    # The extremes are NaN if any number is.
    if joints.plausible(np.array([features.min(), features.max()])).all():
        return
    frame, joint, feature = np.argwhere(~joints.plausible(features))[0]
    value = features[frame, joint, feature]
    if not np.isfinite(value):
        raise WSignError(f"{place}: has NaN or infinity, first in frame {frame}")
    raise WSignError(
        f"{place}: has {value:.3g} in frame {frame}, joint {joint}, feature {feature}: not a keypoint's"
    )


def check_hands(features: np.ndarray, place: str) -> None:
    """Raises a `WSignError` if keypoints (T, 42, 7) show no hand: the model would learn nothing."""
    if not joints.seen_hands(features).any():
        raise WSignError(f"{place}: no hand is in it; leave it out")


def check_length(features: np.ndarray, rules: Rules, place: str) -> None:
    """Raises a `WSignError` if keypoints (T, 42, 7) are longer than the rules allow."""
    if len(features) > rules.max_seq_length:
        raise WSignError(
            f"{place}: {len(features)} frames are over data.max_seq_length={rules.max_seq_length}; "
            "cut the video at a pause, or raise it"
        )


def check_ids(labels: np.ndarray, vocab_size: int, place: str) -> None:
    """Raises a `WSignError` if labels are not (U,) gloss ids of the vocabulary, U over 0."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise WSignError(
            f"{place}: {labels.dtype}{list(labels.shape)} is not a (U,) array of integers"
        )
    if len(labels) == 0:
        raise WSignError(f"{place}: has no labels")
    outside = labels[(labels < 1) | (labels >= vocab_size)]
    if len(outside):
        raise WSignError(
            f"{place}: gloss id {outside[0]} is not in the vocabulary (1 to {vocab_size - 1})"
        )


def check_labels(labels: np.ndarray, frames: int, rules: Rules, place: str) -> None:
    """Raises a `WSignError` if labels are bad, or CTC cannot emit them in so many frames."""
    check_ids(labels, rules.vocab_size, place)
    patches, needed = patches_of(frames, rules.patch_size), patches_needed(labels)
    if patches < needed:
        raise WSignError(
            f"{place}: CTC cannot emit {len(labels)} glosses ({needed} patches with a blank between "
            f"repeats) in {frames} frames ({patches} patches)"
        )

"""Checks one example: its arrays, and whether CTC can emit its labels."""

import dataclasses
import functools
import io
import math
import pathlib
import stat
import threading

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints

MOST_BYTES = 2**30  # of an array: over an hour of Holistic's vectors


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


def load_npy(path: pathlib.Path) -> np.ndarray:
    """Loads the array in a .npy; raises a `WSignError` if the file is missing or damaged."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
            raise ValueError("not a file")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
        return read_npy(path.read_bytes())
    except FileNotFoundError:
        raise WSignError(f"{path}: missing") from None
    except Exception as error:  # a damaged header can raise almost anything
        raise WSignError(f"{path}: {unreadable_reason(error)}") from None


def unreadable_reason(error: Exception) -> str:
    """The message for an array whose reading raised this error."""
    return f"unreadable ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


# NumPy reads a header with `ast.literal_eval`, whose guard against deep nesting counts all threads
# together (seen with Python 3.11). Without the lock, a good file among thousands sometimes fails with
# "AST constructor recursion depth mismatch".
_ONE_HEADER_AT_A_TIME = threading.Lock()
_SIZE_BYTES = {(1, 0): 2, (2, 0): 4}  # of a header's size, by the version of .npy


def read_npy(data: bytes) -> np.ndarray:
    """Returns the array of a .npy file's bytes, which it shares: it cannot be written to.

    Raises:
        Exception: of any kind, if the bytes are damaged or not a .npy.
    """
    version = np.lib.format.read_magic(io.BytesIO(data[: np.lib.format.MAGIC_LEN]))
    if version not in _SIZE_BYTES:
        raise ValueError(f".npy of version {version}; save it again with numpy.save")
    after_size = np.lib.format.MAGIC_LEN + _SIZE_BYTES[version]
    size = int.from_bytes(data[np.lib.format.MAGIC_LEN : after_size], "little")
    start = after_size + size
    with _ONE_HEADER_AT_A_TIME:
        shape, fortran, dtype = _read_header(version, data[np.lib.format.MAGIC_LEN : start])
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers")
    count, got = math.prod(shape), (len(data) - start) // dtype.itemsize
    if not 0 <= count <= got:
        raise ValueError(f"cut off: {got} of {count} numbers")
    array = np.frombuffer(data, dtype, count, start)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


@functools.lru_cache(maxsize=4096)  # parsing costs as much as copying the array of a sentence
def _read_header(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Parses a header that begins with its size: shape, whether in Fortran's order, and dtype."""
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(io.BytesIO(header))
    return np.lib.format.read_array_header_2_0(io.BytesIO(header))


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
    # A sum of squares takes one pass. If it is small, all numbers are plausible; NaN is not small.
    numbers = features.ravel(order="K")
    if np.einsum("i,i", numbers, numbers) < joints.LARGEST or joints.plausible(features).all():
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
    """Raises a `WSignError` if labels are not (U,) gloss ids of the vocabulary; U may be 0."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise WSignError(
            f"{place}: {labels.dtype}{list(labels.shape)} is not a (U,) array of integers"
        )
    outside = labels[(labels < 1) | (labels >= vocab_size)]
    if len(outside):
        raise WSignError(
            f"{place}: gloss id {outside[0]} is not in the vocabulary (1 to {vocab_size - 1})"
        )


def check_labels(labels: np.ndarray, frames: int, rules: Rules, place: str) -> None:
    """Raises a `WSignError` if labels are bad, or CTC cannot emit them in that number of frames."""
    check_ids(labels, rules.vocab_size, place)
    patches, needed = patches_of(frames, rules.patch_size), patches_needed(labels)
    if patches < needed:
        raise WSignError(
            f"{place}: CTC cannot emit {len(labels)} glosses ({needed} patches with a blank between "
            f"repeats) in {frames} frames ({patches} patches)"
        )

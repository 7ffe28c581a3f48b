"""Guesses the shape of the pictures behind keypoints in shares of a picture, by the faces in them."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import ASSUMED, GIVEN, KnownValue
from wsign_jax.keypoints import joints

# MediaPipe's points at the ends of a face's height, then of its width: forehead, chin, ear, ear.
FACE_ENDS = (10, 152, 234, 454)

_FACE_RATIO = 1.22  # true height / width
_ASPECTS = (16 / 9, 4 / 3, 3 / 4, 9 / 16)
_SAMPLE = 40  # clips whose faces are measured

Clip = TypeVar("Clip")


def guess_aspect(
    clips: Sequence[Clip], face_ends: Callable[[Clip], np.ndarray], given: float | None
) -> KnownValue[float]:
    """Returns width / height of the clips' pictures: what is given, or what faces show, or 4/3.

    Args:
        clips: all that were recorded alike; a sample is read.
        face_ends: reads `FACE_ENDS` (t, 4, 2) of a clip, in shares of the picture; NaN or 0 if absent.
        given: `--aspect`; None if there is none.

    Raises:
        WSignError: what is given is out of range.
    """
    if given is not None:
        records.check_aspect(given)
        return KnownValue(given, GIVEN)
    ends = np.concatenate([np.empty((0, 4, 2)), *_readable(clips, face_ends)])
    ends = np.where(joints.plausible(ends), ends, np.nan)
    height, width = (np.linalg.norm(ends[:, n + 1] - ends[:, n], axis=-1) for n in (0, 2))
    seen = (height > 0) & (width > 0)  # not NaN either
    if not seen.any():
        return KnownValue(records.ASPECT, ASSUMED)
    ratio = float(np.median(height[seen] / width[seen])) / _FACE_RATIO
    aspect = min(_ASPECTS, key=lambda known: abs(np.log(ratio / known)))
    return KnownValue(aspect, "by the height and width of faces")


def _readable(
    clips: Sequence[Clip], face_ends: Callable[[Clip], np.ndarray]
) -> Iterator[np.ndarray]:
    for clip in clips[:: -(-len(clips) // _SAMPLE) or 1]:
        try:
            yield face_ends(clip)
        except WSignError:
            continue  # it is named when all are read

"""Measures the shape of the pictures behind keypoints in shares of a picture, at the faces in them."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import records

# MediaPipe's points at the ends of a face's height, then of its width.
FACE_ENDS = (10, 152, 234, 454)

_FACE_HEIGHT = 1.22  # of a face, in its widths
_FILES = 10  # that are read to measure
_ASSUMED = 4 / 3
_PICTURES = ((16, 9), (4, 3), (1, 1), (3, 4), (9, 16))  # width, height


def find(
    paths: Sequence[pathlib.Path],
    faces: Callable[[pathlib.Path], np.ndarray],
    given: float | None,
) -> tuple[float, str]:
    """Returns width / height of the pictures, and where that is from.

    Args:
        paths: files with faces, of which some are read.
        faces: reads `FACE_ENDS` (t, 4, 2) of a file, in shares of the picture; NaN or 0 if absent.
        given: `--aspect`, which is taken if it is not None.

    Raises:
        WSignError: it is out of range, or none of the files can be read.
    """
    if given is not None:
        records.check_aspect(given)
        return given, "--aspect"
    some = paths[:: max(1, len(paths) // _FILES)][:_FILES]
    found, problems = [np.empty((0, 4, 2))], []
    for path in some:
        try:
            found.append(faces(path))
        except WSignError as error:  # will be named when it is read
            problems.append(error)
    if len(problems) == len(some) > 0:
        raise problems[0]
    ends = np.concatenate(found)
    height, width = np.abs(ends[:, 1, 1] - ends[:, 0, 1]), np.abs(ends[:, 3, 0] - ends[:, 2, 0])
    seen = (height > 0) & (width > 0)  # not NaN either
    if not seen.any():
        return _ASSUMED, "assumed: no face to measure it at"
    measured = np.median(height[seen] / width[seen]) / _FACE_HEIGHT
    across, down = min(_PICTURES, key=lambda size: abs(np.log(size[0] / size[1] / measured)))
    return across / down, f"faces, which measure {measured:.2f}"

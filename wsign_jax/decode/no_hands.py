"""Where nothing is recognized, because there is no hand to be seen. Numpy only."""

import numpy as np

from wsign_jax.keypoints import joints

# Frames. Where a chunk and so many frames before it show no hand, nothing is recognized, whatever the
# network makes of nothing.
SILENCE = joints.FPS


def silent(seen: np.ndarray, chunk: int, patch_size: int, look_ahead: int) -> np.ndarray:
    """The patches in which nothing is recognized, in a stream and in its offline twin.

    Args:
        seen: (T,) bool, the frames that show a hand.
        chunk: C, or any number beyond the sequence for full attention.
        patch_size: P.
        look_ahead: of the frontend, in patches.

    Returns:
        (N,) bool, the same for all patches of a chunk: none of its frames, the look-ahead's and those
        of a second before shows a hand.
    """
    count = -(-len(seen) // patch_size)
    result = np.zeros(count, bool)
    for first in range(0, count, chunk):
        begin = max(first * patch_size - SILENCE, 0)
        end = (first + chunk + look_ahead) * patch_size
        result[first : first + chunk] = not seen[begin:end].any()
    return result

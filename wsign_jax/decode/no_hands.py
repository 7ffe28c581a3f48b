"""Finds where nothing is recognized, because no hand is seen. Numpy only."""

import numpy as np

from wsign_jax.keypoints import joints

# Frames. If a chunk and this number of frames before it show no hand, nothing is recognized, whatever
# the network says.
NO_HANDS_FRAMES = joints.FPS


def patches_without_hands(
    seen: np.ndarray, chunk: int, patch_size: int, look_ahead: int
) -> np.ndarray:
    """Returns the patches in which nothing is recognized, the same for a stream and offline.

    `seen` (T,) says which frames show a hand. A chunk beyond the sequence is full attention. The
    `look_ahead` of the frontend is in patches.

    Returns:
        (N,) bool, the same for all patches of a chunk: true if no hand is seen in its frames, in those
        of the look-ahead, and in those of the second before.
    """
    count = -(-len(seen) // patch_size)
    result = np.zeros(count, bool)
    for first in range(0, count, chunk):
        begin = max(first * patch_size - NO_HANDS_FRAMES, 0)
        end = (first + chunk + look_ahead) * patch_size
        result[first : first + chunk] = not seen[begin:end].any()
    return result

"""Hands as MediaPipe reports them, all of one shape."""

import numpy as np

from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection

L, R = LEFT_HAND, RIGHT_HAND
SHAPE = np.random.default_rng(0).normal(0, 0.03, (21, 3))
SHAPE[joints.WRIST] = 0.0
SHAPE[joints.MIDDLE_KNUCKLE] = [0.0, -0.08, 0.0]


def hand(x, y, label, score=0.95):
    return Detection(SHAPE + np.array([x, y, 0.0]), label, score)

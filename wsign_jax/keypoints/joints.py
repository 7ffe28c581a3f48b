"""The layout of a frame of hand keypoints: 42 joints with 7 features each, at 60 Hz.

Joints 0-20 are the left hand, 21-41 the right, each in MediaPipe's order. Features are the position
x, y, z (image widths), the velocity (image widths per second) and the confidence in [0, 1]. A hand
that was not seen is all zeros with confidence 0.
"""

from typing import Any

import numpy as np

from wsign_jax.common.errors import WSignError

FPS = 60

NUM_JOINTS = 42
JOINTS_PER_HAND = 21
NUM_FEATURES = 7

POSITION = slice(0, 3)
VELOCITY = slice(3, 6)
CONFIDENCE = 6

LEFT = slice(0, JOINTS_PER_HAND)
RIGHT = slice(JOINTS_PER_HAND, NUM_JOINTS)
HANDS = (LEFT, RIGHT)

# No tracker gives larger numbers, not even one that counts in pixels.
LARGEST = np.float32(1e6)  # so that float16 is compared as float32
MOST_CONFIDENCE = 1.001  # 1, with room for rounding

# The least and the most width / height of pictures: far beyond any camera's.
ASPECTS = (0.1, 10.0)

# Within a hand.
WRIST = 0
MIDDLE_KNUCKLE = 9
# Thumb, index, middle, ring, little finger; four joints each, from the palm to the tip.
FINGERS = tuple(tuple(range(1 + 4 * finger, 5 + 4 * finger)) for finger in range(5))
WRISTS = (LEFT.start + WRIST, RIGHT.start + WRIST)


def plausible(numbers: np.ndarray) -> np.ndarray:
    """Tells which numbers may be a keypoint's in any unit: not NaN, infinity or garbage like 1e30."""
    return np.abs(numbers) <= LARGEST


def plausible_hands(numbers: np.ndarray) -> np.ndarray:
    """Tells which hand has only plausible numbers in which frame: (T, 42, k) -> (T, 2) bool."""
    hands = len(numbers), len(HANDS), JOINTS_PER_HAND * numbers.shape[2]
    return np.asarray(plausible(numbers).reshape(hands).all(axis=2))


def as_features(value: Any, name: str) -> np.ndarray:
    """Checks features that somebody gives, (T, 42, 7) real floats, and returns them as float32.

    NaN and implausible numbers stay. Messages call the features `name`.

    Raises:
        WSignError: it is something else, or has a confidence outside [0, 1].
    """
    if isinstance(value, np.ma.MaskedArray):
        raise WSignError(f"{name}: a masked array; give a plain one, zero where a hand is not seen")
    try:
        features = np.asarray(value)
    except (TypeError, ValueError):
        raise WSignError(f"{name}: not an array of floats; give keypoints (T, 42, 7)") from None
    if features.dtype.kind != "f":
        raise WSignError(f"{name}: {features.dtype}, not floats; give keypoints (T, 42, 7)")
    if features.ndim != 3 or features.shape[1:] != (NUM_JOINTS, NUM_FEATURES):
        raise WSignError(f"{name}: shape {features.shape} is not (T, {NUM_JOINTS}, {NUM_FEATURES})")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinity
        features = features.astype(np.float32, copy=False)
    sure = features[..., CONFIDENCE]
    wrong = plausible(sure) & ((sure < 0) | (sure > MOST_CONFIDENCE))
    if wrong.any():
        frame, joint = np.argwhere(wrong)[0]
        raise WSignError(
            f"{name}: confidence {sure[frame, joint]:.3g} in frame {frame}, joint {joint}; it must be "
            "from 0 to 1"
        )
    return features


def seen_hands(features: np.ndarray) -> np.ndarray:
    """Tells which hand was seen in which frame: (T, 42, 7) -> (T, 2) bool, left then right."""
    return _sure(features) > 0


def positions_and_confidence(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions (T, 42, 3) and the hands' confidence (T, 2) of features (T, 42, 7)."""
    return features[..., POSITION], _sure(features)


def _sure(features: np.ndarray) -> np.ndarray:
    """The hands' confidence (T, 2); all joints of a hand have the same."""
    return features[:, ::JOINTS_PER_HAND, CONFIDENCE]


def in_widths(features: np.ndarray, aspect: float) -> np.ndarray:
    """Converts y in features (T, 42, 7) from shares of the picture's height to picture widths.

    `aspect` is width / height of the pictures; it is 1 if y is in widths already.
    """
    if aspect == 1.0:
        return features
    features = features.copy()
    features[..., POSITION.start + 1 : VELOCITY.stop : 3] /= aspect
    return features


def features_from_positions(
    positions: np.ndarray, confidence: np.ndarray, fps: float = FPS
) -> np.ndarray:
    """Builds the features (T, 42, 7) of a sequence from positions (T, 42, 3) and confidence (T, 2).

    Positions are in image widths, and ignored where a hand's confidence is 0. Velocity is the central
    difference of positions (one-sided at the two ends). It is 0 if the hand is absent in the frame or in
    one next to it.
    """
    frames = len(positions)
    if not confidence.any():  # as in a long pause
        return np.zeros((frames, NUM_JOINTS, NUM_FEATURES), np.float32)
    # By hands, whose joints lie together: numpy is slow if it takes three numbers at a time.
    by_hand, by_joint = (frames, len(HANDS), JOINTS_PER_HAND * 3), (frames, NUM_JOINTS, 3)
    seen = confidence > 0
    hands = np.where(seen[..., None], positions.reshape(by_hand), 0.0)
    features = np.zeros((frames, NUM_JOINTS, NUM_FEATURES), np.float32)
    features[..., POSITION] = hands.reshape(by_joint)
    features[..., CONFIDENCE] = np.repeat(confidence, JOINTS_PER_HAND, axis=1)
    if frames > 1:
        steady = seen.copy()
        steady[1:] &= seen[:-1]
        steady[:-1] &= seen[1:]
        velocity = np.gradient(hands, axis=0) * fps
        features[..., VELOCITY] = np.where(steady[..., None], velocity, 0.0).reshape(by_joint)
    return features

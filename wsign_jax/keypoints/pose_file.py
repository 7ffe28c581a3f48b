"""The .pose files of the package pose-format: MediaPipe Holistic's hands, their rate, a picture's size.

The format's description is docs/specs in github.com/sign-language-processing/pose. Values are pixels;
a point of confidence 0 was not seen.
"""

import io
import pathlib
from types import ModuleType
from typing import Any

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, shown
from wsign_jax.keypoints import joints

SUFFIX = ".pose"

# Pixels of the width that files are written for: keypoints do not know their video's.
_WIDTH = 1000
COMPONENTS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
_FINGERS = ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
_POINTS = ["WRIST", *(f"THUMB_{part}" for part in ("CMC", "MCP", "IP", "TIP"))]
_POINTS += [f"{finger}_{part}" for finger in _FINGERS for part in ("MCP", "PIP", "DIP", "TIP")]
_LIMBS = [
    pair
    for finger in joints.FINGERS
    for pair in zip((joints.WRIST, *finger[:-1]), finger, strict=True)
]
_COLOR = (0, 128, 255)


def load_library() -> ModuleType:
    """Loads pose-format; raises a `WSignError` if it is not installed."""
    try:
        import pose_format  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; .pose files need pip install -e ".[pose]"'
        ) from None
    return pose_format


def read_pose(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Reads the hands of a file of one person.

    Returns:
        Positions (t, 42, 3) in picture widths; present (t, 2) bool, left and right hand; the rate.

    Raises:
        WSignError: the file is damaged, or has not one person with the hands of MediaPipe Holistic; or
            pose-format is not installed.
    """
    pose_format = load_library()
    try:
        pose = pose_format.Pose.read(path.read_bytes())
        data = np.asarray(pose.body.data.filled(0.0), np.float64)
        sure = np.asarray(pose.body.confidence)
    except Exception as error:  # damage can raise almost anything
        raise WSignError(f"{path}: not a .pose file that can be read ({shown(error)})") from None
    fps, width = float(pose.body.fps), pose.header.dimensions.width
    if data.shape[1] != 1 or not len(data):
        raise WSignError(f"{path}: {len(data)} frames of {data.shape[1]} people; it must have one")
    if not (0 < fps <= 1000 and width):
        raise WSignError(f"{path}: {fps:g} frames a second, {width} pixels wide; save it again")
    places = [_points_of(pose.header, name, path) for name in COMPONENTS]
    positions = np.zeros((len(data), joints.NUM_JOINTS, 3))
    dims = min(data.shape[-1], 3)
    positions[..., :dims] = data[:, 0, np.concatenate(places), :dims] / width
    present = np.stack([(sure[:, 0, place] > 0).any(axis=1) for place in places], axis=1)
    return positions, present & joints.plausible_hands(positions), fps


def _points_of(header: Any, name: str, path: pathlib.Path) -> np.ndarray:
    """Returns the numbers of a component's 21 points among all points."""
    first = 0
    for component in header.components:
        if component.name == name and len(component.points) == joints.JOINTS_PER_HAND:
            return np.arange(first, first + joints.JOINTS_PER_HAND)
        first += len(component.points)
    has = ", ".join(component.name for component in header.components) or "nothing"
    raise WSignError(f"{path}: has {has}, and no {name} of 21 points; estimate with mediapipe")


def write_pose(path: pathlib.Path, features: np.ndarray) -> None:
    """Writes the hands of features (T, 42, 7) at 60 Hz, y in picture widths.

    Raises:
        WSignError: pose-format is not installed.
        OSError: the file cannot be written.
    """
    pose_format = load_library()
    from pose_format import pose_header  # noqa: PLC0415  an extra
    from pose_format.numpy import NumPyPoseBody  # noqa: PLC0415

    positions, sure = joints.positions_and_confidence(features)
    header = pose_header.PoseHeader(
        pose_header.VERSION,
        pose_header.PoseHeaderDimensions(_WIDTH, _WIDTH, _WIDTH),
        [
            pose_header.PoseHeaderComponent(name, _POINTS, _LIMBS, [_COLOR] * len(_LIMBS), "XYZC")
            for name in COMPONENTS
        ],
    )
    confidence = np.repeat(sure, joints.JOINTS_PER_HAND, axis=1)[:, None]
    content = io.BytesIO()
    body = NumPyPoseBody(joints.FPS, positions[:, None] * _WIDTH, confidence)
    pose_format.Pose(header, body).write(content)
    files.write(path, content.getvalue())

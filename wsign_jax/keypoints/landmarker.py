"""MediaPipe's HandLandmarker: finds its model file, and the hands in pictures."""

import functools
import hashlib
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from wsign_jax.common import download
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints, native_libs

MODEL_NAME = "hand_landmarker.task"
MODEL_VERSION = "hand_landmarker float16 version 1"
MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/"
    + MODEL_NAME
)
_MODEL_SHA256 = "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1"
# The networks inside; a bundle that was zipped again is as good.
_INNER_SHA256 = {
    "hand_detector.tflite": "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    "hand_landmarks_detector.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}

LEFT_HAND, RIGHT_HAND = range(2)  # indices into joints.HANDS
# In an unmirrored picture, the Tasks API names the signer's own hand; the legacy API, the other one.
_HAND_OF = {"Left": LEFT_HAND, "Right": RIGHT_HAND}


class Detection(NamedTuple):
    """One hand in one picture."""

    landmarks: np.ndarray  # (21, 3) x, y, z in picture widths
    hand: int  # LEFT_HAND or RIGHT_HAND, as reported
    score: float  # of that report, 0.5 to 1


# ------------------------------------------------------------------------------------------- the model


def find_model(path: pathlib.Path | None = None, copy: str = "--model=FILE") -> pathlib.Path:
    """Returns the checked model file: the given one, otherwise the cached or downloaded one.

    `copy` is the flag that names a copy, for messages.

    Raises:
        WSignError: it is not the published one, or it is missing and cannot be downloaded.
    """
    if path is not None:
        _check_model(path, f"name a copy of {MODEL_URL} with {copy}")
        return path
    cached = cache_folder() / MODEL_NAME
    if cached.exists():
        _check_model(cached, f"delete it, or put {MODEL_URL} there")
    else:
        fix = f"put {MODEL_URL} at {cached}, or name a copy with {copy}"
        check = functools.partial(_check_model, fix=fix)
        download.download(MODEL_URL, cached, check, "model", copy)
    return cached


def cache_folder() -> pathlib.Path:
    """Returns the folder of downloads: $XDG_CACHE_HOME/wsign_jax, by default ~/.cache/wsign_jax.

    Raises:
        WSignError: there is neither XDG_CACHE_HOME nor a home folder.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(cache) / "wsign_jax"
    try:
        return pathlib.Path.home() / ".cache" / "wsign_jax"
    except RuntimeError:
        raise WSignError(
            f"there is no home folder to keep {MODEL_NAME} in; name a copy of {MODEL_URL} with "
            "--model=FILE, or a folder with XDG_CACHE_HOME=DIR"
        ) from None


def _check_model(path: pathlib.Path, fix: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WSignError(
            f"{path}: the model cannot be read ({error.strerror}); download {MODEL_URL} there"
        ) from None
    if hashlib.sha256(content).hexdigest() == _MODEL_SHA256:
        return
    try:
        with zipfile.ZipFile(path) as bundle:
            inner = {name: hashlib.sha256(bundle.read(name)).hexdigest() for name in _INNER_SHA256}
    except (zipfile.BadZipFile, KeyError, OSError):
        inner = {}
    if inner != _INNER_SHA256:
        raise WSignError(f"{path}: is not {MODEL_VERSION}, or is damaged; {fix}")


# -------------------------------------------------------------------------------------- the landmarker


class Landmarker:
    """MediaPipe's HandLandmarker for the pictures of one video, in their order; up to two hands.

    A context manager: a landmarker that is not closed keeps its memory. Use a new one for every video,
    because it looks for a hand first where the previous picture had it. It works in MediaPipe's VIDEO
    mode for live pictures too: LIVE_STREAM mode loses twice as many, and does not tell which.
    """

    def __init__(self, model: pathlib.Path, min_confidence: float = 0.5):
        """Starts a landmarker.

        `min_confidence` is the threshold of the detection, of a hand's presence and of its tracking.

        Raises:
            WSignError: MediaPipe, or a system library that it needs, is not installed.
        """
        mp, vision = load_mediapipe()
        options = vision.HandLandmarkerOptions(
            base_options=mp.tasks.BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            num_hands=2,
            min_hand_detection_confidence=min_confidence,
            min_hand_presence_confidence=min_confidence,
            min_tracking_confidence=min_confidence,
        )
        self._mp = mp
        self._milliseconds = -1
        with native_libs.explain_missing_library():
            self._native = vision.HandLandmarker.create_from_options(options)

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._native.close()

    def detect(self, image: np.ndarray, time_s: float) -> list[Detection]:
        """Returns the hands in the next picture, (height, width, 3) uint8 RGB, not mirrored."""
        # MediaPipe's clock must advance, and ticks in milliseconds.
        self._milliseconds = max(self._milliseconds + 1, round(time_s * 1000))
        # MediaPipe misreads a view, for example a mirrored picture, without an error.
        picture = self._mp.Image(
            image_format=self._mp.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        result = self._native.detect_for_video(picture, self._milliseconds)
        height, width = image.shape[:2]
        scale = np.array([1.0, height / width, 1.0])
        return [
            Detection(
                landmarks=np.array([(p.x, p.y, p.z) for p in landmarks]) * scale,
                hand=_HAND_OF[handedness[0].category_name],
                score=float(handedness[0].score),
            )
            for handedness, landmarks in zip(result.handedness, result.hand_landmarks, strict=True)
            if len(landmarks) == joints.JOINTS_PER_HAND
        ]


def load_mediapipe() -> tuple[Any, Any]:
    """Loads MediaPipe and its `vision`; raises a `WSignError` if it is not installed."""
    with native_libs.explain_missing_library():
        import mediapipe as mp  # noqa: PLC0415
        from mediapipe.tasks.python import vision  # noqa: PLC0415
    return mp, vision

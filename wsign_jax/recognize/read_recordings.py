"""Reads recordings as keypoints, whatever they come as, and says what is wrong with them."""

import os
import pathlib
from typing import Any, TypeAlias

import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data import layout, validate
from wsign_jax.keypoints import extract, joints, landmarker, native_libs
from wsign_jax.model.positions import MAX_SINUSOIDAL_PATCHES, SINUSOIDAL
from wsign_jax.recognize.backend import RecognizerSettings

# A video, a folder of pictures or a .npy by its path, or keypoints (T, 42, 7).
Recording: TypeAlias = str | os.PathLike[str] | np.ndarray

# Attention's memory grows with the square of the length.
LONGEST = 10 * 60 * joints.FPS


def read_recording(
    recording: Recording,
    name: str,
    settings: RecognizerSettings,
    hand_landmarker: pathlib.Path | None,
) -> np.ndarray:
    """Returns a recording as (T, 42, 7) float32, not normalized, y in picture widths.

    Args:
        recording: to be read.
        name: of an array, for messages.
        settings: of the model that it is for.
        hand_landmarker: as for `Recognizer.load`.

    Raises:
        WSignError: it cannot be read, or is not a recording.
    """
    if isinstance(recording, str | os.PathLike):
        path = pathlib.Path(recording)
        name = str(path)
        try:
            if path.suffix.lower() == ".npy":
                features = _load(path, settings.aspect)
            else:
                features = _extract(path, hand_landmarker)
        except OSError as error:
            what = error.strerror or shown(error)
            raise WSignError(f"{error.filename or name}: cannot be read ({what})") from None
    else:
        features = joints.as_features(recording, name)
    _check(features, name, settings)
    return features


def list_recordings(recordings: Any) -> list[Any]:
    """Returns recordings as a list; a single one, or anything else, becomes a list of one."""
    if isinstance(recordings, str | os.PathLike) or getattr(recordings, "ndim", 0) == 3:
        return [recordings]
    try:
        return list(recordings)
    except TypeError:
        return [recordings]


def label_of(recording: Any, otherwise: str) -> str:
    """Returns the name of a recording for messages."""
    return str(recording) if isinstance(recording, str | os.PathLike) else otherwise


def split_batch(features: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Returns the valid frames of each row of a padded batch (B, T, 42, 7) of lengths (B,).

    Raises:
        WSignError: the shapes are wrong, or a length is out of range.
    """
    try:
        # A masked array stays one, and is refused.
        features, counts = np.asanyarray(features), np.asarray(lengths)
    except ValueError:  # numpy's own message speaks of inhomogeneous parts
        raise WSignError(
            "features of mixed lengths are not (B, T, 42, 7); pad them with zeros, or call "
            "transcribe, which takes a list of them"
        ) from None
    if features.ndim != 4:
        raise WSignError(f"features {features.shape} are not (B, T, 42, 7)")
    if counts.shape != features.shape[:1] or not np.issubdtype(counts.dtype, np.integer):
        raise WSignError(
            f"lengths {counts.dtype}{list(counts.shape)} are not ({len(features)},) whole numbers, "
            "one for each row of features"
        )
    outside = np.flatnonzero((counts < 2) | (counts > features.shape[1]))
    if len(outside):
        row = int(outside[0])
        raise WSignError(
            f"lengths[{row}] is {counts[row]}; it must be from 2 to {features.shape[1]} frames"
        )
    return [x[:count] for x, count in zip(features, counts, strict=True)]


def _extract(path: pathlib.Path, hand_landmarker: pathlib.Path | None) -> np.ndarray:
    if not path.exists():
        raise WSignError(f"{path}: no such file")
    clip = extract.clip_of(path)
    with native_libs.hide_native_log():
        model = landmarker.find_model(hand_landmarker)
        return extract.extract_clip(clip, extract.ExtractionSettings(), model)[0]


def _load(path: pathlib.Path, aspect: float) -> np.ndarray:
    """Loads the keypoints of a file; if it lies in a data set, that gives the pictures' aspect."""
    features = joints.as_features(validate.load_npy(path), str(path))
    validate.check_features(features, str(path))
    return joints.in_widths(features, layout.aspect_of(path, aspect))


def _check(features: np.ndarray, name: str, settings: RecognizerSettings) -> None:
    validate.check_features(features, name)
    frames = len(features)
    if frames < 2:
        raise WSignError(f"{name}: has one frame, and signs move; give two or more")
    if frames > LONGEST:
        raise WSignError(
            f"{name}: {frames} frames are over {LONGEST} (10 minutes); cut it at a pause, or use "
            "Recognizer.stream"
        )
    patches = validate.patches_of(frames, settings.patch_size)
    if settings.positions == SINUSOIDAL and patches > MAX_SINUSOIDAL_PATCHES:
        raise WSignError(
            f"{name}: {frames} frames make {patches} patches, and this model's sinusoidal positions "
            f"end at {MAX_SINUSOIDAL_PATCHES}; cut it at a pause"
        )

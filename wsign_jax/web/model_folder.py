"""python -m wsign_jax.web.model_folder RUN DIR

Writes a trained run as the folder that the page in the browser recognizes with. `training.py` calls it.

    stream.onnx    the step of the run's stream, as `recognize/export_onnx.py` has it
    stream.json    all else that the JavaScript in `static/` needs: labels, sizes, constants
    known_signs.f32, enrolled.f32
                   if the run tells unknown signs, or has enrolled ones: arrays of float32, one after the
                   other, little-endian; `arrays` in stream.json has their names and shapes

The constants are those of the Python modules that the JavaScript ports, so that they stand in one place.
"""

import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.decode import enrolled_signs, prototypes, unknown
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.decode.prototypes import Prototypes
from wsign_jax.decode.unknown import UnknownRule
from wsign_jax.evaluate.decoder_settings import choose_settings, unknown_rule
from wsign_jax.evaluate.trained_run import Trained, open_run
from wsign_jax.keypoints import joints, picture_stream, resample, track
from wsign_jax.model import positions
from wsign_jax.recognize import enrollment, export, export_onnx, run_backend
from wsign_jax.stream import run_stream, sentence_end

MODEL, SETTINGS = "stream.onnx", "stream.json"
KNOWN_SIGNS, ENROLLED = "known_signs.f32", "enrolled.f32"
VERSION = 2  # of stream.json; goes up with every change that older pages cannot read
# Hands at rest or out of sight for so long end a sentence on the page.
ENDPOINT_SECONDS = 1.0


# The arrays of each file, by their names.
Arrays: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]


def write_model_folder(trained: Trained, folder: pathlib.Path) -> None:
    """Writes a run's folder for the page, in float32; replaces the model that is there.

    Until all is written, the model that was there stays.

    Raises:
        WSignError: jax2onnx is not installed, the folder cannot be made, or the run's enrolled or known
            signs are damaged.
        OSError: it cannot be written.
    """
    settings, arrays = stream_content(trained)
    partial = {name: files.temporary_name(folder / name) for name in (MODEL, *arrays)}
    try:
        export_onnx.export_onnx_stream(trained, partial[MODEL])
        for name, each in arrays.items():
            content = b"".join(array.astype("<f4").tobytes() for array in each.values())
            files.write(partial[name], content)
        # A folder without settings is not a model: it is never half the old one and half the new.
        (folder / SETTINGS).unlink(missing_ok=True)
        for name, path in partial.items():
            os.replace(path, folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    for name in {KNOWN_SIGNS, ENROLLED} - arrays.keys():
        (folder / name).unlink(missing_ok=True)
    files.write_json(folder / SETTINGS, settings)


def stream_content(trained: Trained) -> tuple[dict[str, Any], Arrays]:
    """Returns the content of stream.json, as `static/settings.js` describes it, and the arrays."""
    model, _, _ = run_stream.stream_parts(trained)
    settings, sizes = run_backend.recognizer_settings(trained), export.stream_sizes(trained)
    is_endless = model.positions != positions.SINUSOIDAL
    rule = unknown_rule(trained, choose_settings(trained, GREEDY))
    enrolled = enrollment.read(trained.workdir / enrollment.ENROLLED, trained.vocabulary)
    known = enrolled.prototypes()
    arrays = _arrays(rule, known)
    content = {
        "version": VERSION,
        "labels": list(trained.vocabulary.names),
        **keypoint_settings(),
        "patch_size": model.patch_size,
        "look_ahead": model.look_ahead,
        "chunk": model.chunk,
        "reach": model.reach,
        "head_width": model.head_width,
        "frequency_base": positions.FREQUENCY_BASE,
        "most_patches": None if is_endless else positions.MAX_SINUSOIDAL_PATCHES,
        "no_hands_frames": NO_HANDS_FRAMES,
        **model.calibration._asdict(),
        "sentence_end": {
            # As in Python, a stream with enrolled signs closes no sentences.
            "rest_frames": 0 if known else round(ENDPOINT_SECONDS * joints.FPS),
            "most_patches": sentence_end.longest_sentence(trained, model.chunk),
        },
        "unknown": rule and _unknown_settings(rule),
        "enrolled": known and _enrolled_settings(known),
        "arrays": {
            file: {name: list(array.shape) for name, array in each.items()}
            for file, each in arrays.items()
        },
        "inputs": {
            name: {"type": str(shape.dtype), "shape": list(shape.shape)}
            for name, shape in export_onnx.stream_inputs(settings, sizes).items()
        },
    }
    return content, arrays


def _arrays(rule: UnknownRule | None, known: Prototypes | None) -> Arrays:
    """Returns what is too large for JSON."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    if rule:
        familiarity = rule.familiarity
        names = ("means", "center", "within", "around")
        arrays[KNOWN_SIGNS] = {name: getattr(familiarity, name) for name in names}
    if known:
        arrays[ENROLLED] = {"vectors": known.vectors}
    return arrays


def _unknown_settings(rule: UnknownRule) -> dict[str, Any]:
    """Returns the part of stream.json that tells unknown signs."""
    return {
        "below": rule.below,
        "seen": rule.familiarity.seen.tolist(),
        "least": unknown.LEAST,
        "longest": unknown.LONGEST,
    }


def _enrolled_settings(known: Prototypes) -> dict[str, Any]:
    """Returns the part of stream.json that finds enrolled signs."""
    return {
        "names": list(known.names),
        "signs": known.signs.tolist(),
        "frames": known.frames.tolist(),
        "ways": known.ways.tolist(),
        "thresholds": known.thresholds.tolist(),
        "lengths": prototypes.window_lengths(known).tolist(),
        "longest_alone": prototypes.longest_alone(known),
        "points": prototypes.POINTS,
        "bones": prototypes.BONES.tolist(),
        "average_hand": prototypes.AVERAGE_HAND.tolist(),
        "hop": prototypes.HOP,
        "least": prototypes.LEAST,
        "least_alone": prototypes.LEAST_ALONE,
        "softness": prototypes.SOFTNESS,
        "softness_alone": prototypes.SOFTNESS_ALONE,
        "alone": prototypes.ALONE,
        "pause": prototypes.PAUSE,
        "margin": prototypes.MARGIN,
        "step": prototypes.STEP,
        "farther": prototypes.FARTHER,
        "still": prototypes.STILL,
        "near": enrolled_signs.NEAR,
    }


def keypoint_settings() -> dict[str, Any]:
    """Returns the part of stream.json that turns hands into keypoints, which recording needs too."""
    return {
        "fps": joints.FPS,
        "hand": {
            "joints": joints.JOINTS_PER_HAND,
            "wrist": joints.WRIST,
            "middle_knuckle": joints.MIDDLE_KNUCKLE,
            "largest": float(joints.LARGEST),
        },
        "tracker": {
            "delay_frames": track.DELAY_FRAMES,
            "max_gap": resample.MAX_GAP,
            "rounding": resample.ROUNDING,
            "longest_pause": resample.LONGEST_PAUSE,
            "part": picture_stream.PART,
            "spread": track.SPREAD,
            "spread_per_second": track.SPREAD_PER_SECOND,
            "linear": track.LINEAR,
            "extrapolation": track.EXTRAPOLATION,
            "new_track": track.NEW_TRACK,
            "same_hand": track.SAME_HAND,
            "smallest_hand": track.SMALLEST_HAND,
            "memory": track.MEMORY,
            "least_score": track.LEAST_SCORE,
            "most_score": track.MOST_SCORE,
            "most_log_odds": track.MOST_LOG_ODDS,
            "renaming": track.RENAMING,
            "rest_speed": track.REST_SPEED,
        },
    }


if __name__ == "__main__":
    with exit_on_user_error():
        run, folder = map(pathlib.Path, sys.argv[1:])
        write_model_folder(open_run(run), folder)

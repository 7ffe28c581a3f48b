"""python -m wsign_jax.web.model_folder RUN DIR

Writes a trained run as the folder that the page in the browser recognizes with. `training.py` calls it.

    stream.onnx    the step of the run's stream, as `recognize/export_onnx.py` has it
    stream.json    all else that the JavaScript in `static/` needs: labels, sizes, constants

The constants are those of the Python modules that the JavaScript ports, so that they stand in one place.
"""

import os
import pathlib
import sys
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.decode.no_hands import NO_HANDS_FRAMES
from wsign_jax.evaluate.trained_run import Trained, open_run
from wsign_jax.keypoints import joints, picture_stream, resample, track
from wsign_jax.model import positions
from wsign_jax.recognize import export, export_onnx, run_backend
from wsign_jax.stream import run_stream, sentence_end

MODEL, SETTINGS = "stream.onnx", "stream.json"
VERSION = 1  # of stream.json; goes up with every change that older pages cannot read
# Hands at rest or out of sight for so long end a sentence on the page.
ENDPOINT_SECONDS = 1.0


def write_model_folder(trained: Trained, folder: pathlib.Path) -> None:
    """Writes a run's folder for the page, in float32; replaces the model that is there.

    Until all is written, the model that was there stays.

    Raises:
        WSignError: jax2onnx is not installed, or the folder cannot be made.
        OSError: it cannot be written.
    """
    settings = stream_settings(trained)
    partial = files.temporary_name(folder / MODEL)
    try:
        export_onnx.export_onnx_stream(trained, partial)
        # A folder without settings is not a model: it is never half the old one and half the new.
        (folder / SETTINGS).unlink(missing_ok=True)
        os.replace(partial, folder / MODEL)
    finally:
        partial.unlink(missing_ok=True)
    files.write_json(folder / SETTINGS, settings)


def stream_settings(trained: Trained) -> dict[str, Any]:
    """Returns the content of stream.json, as `static/settings.js` describes it."""
    model, _, _ = run_stream.stream_parts(trained)
    settings, sizes = run_backend.recognizer_settings(trained), export.stream_sizes(trained)
    is_endless = model.positions != positions.SINUSOIDAL
    return {
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
            "rest_speed": track.REST_SPEED,
            "rest_frames": round(ENDPOINT_SECONDS * joints.FPS),
            "most_patches": sentence_end.longest_sentence(trained, model.chunk),
        },
        "inputs": {
            name: {"type": str(shape.dtype), "shape": list(shape.shape)}
            for name, shape in export_onnx.stream_inputs(settings, sizes).items()
        },
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
        },
    }


if __name__ == "__main__":
    with exit_on_user_error():
        run, folder = map(pathlib.Path, sys.argv[1:])
        write_model_folder(open_run(run), folder)

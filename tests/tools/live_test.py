"""tools/live.py as a person runs it, with the real MediaPipe."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import videos
from tests.helpers.processes import ROOT
from wsign_jax.keypoints import camera, video

SOUP = 41  # pictures of soup.mp4


def events(printed):
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_a_video_as_a_camera_would_give_it(trained_run, command):
    _, work = trained_run
    soup = videos.shared("videos/soup.mp4")
    flags = (f"--checkpoint={work}", f"--source={soup}", f"--model={videos.model()}")
    status, printed = command("live.py", *flags, "--simulate", "--json")
    assert status == 0, printed
    last = events(printed)[-1]
    assert last["event"] == "end" and last["count"] + last["dropped"] == SOUP
    assert last["seconds"] == pytest.approx(40 / 29.97, abs=0.1)
    assert last["took"] > 1.2 and last["delays"]["landmarks"][0] > 0

    # As fast as it goes nothing is dropped, and what is recognized never changes.
    status, printed = command("live.py", *flags)
    assert status == 0 and f"{SOUP} pictures of 1.33 s" in printed and "; 0 dropped" in printed
    assert "\nsum " in printed
    assert "DestroyAccelerator" not in printed  # MediaPipe's own log


def test_a_camera_that_disappears_is_exit_status_1(trained_run, command, monkeypatch):
    def unplugged(number):
        assert number == 3
        for picture in range(8):
            yield video.Picture(picture / 30, np.zeros((120, 160, 3), np.uint8))

    monkeypatch.setattr(camera, "camera_pictures", unplugged)
    flags = (f"--checkpoint={trained_run[1]}", "--source=3", f"--model={videos.model()}")
    status, printed = command("live.py", *flags)
    assert status == 1 and "3: no more pictures come from the camera" in printed


def test_ctrl_c_finishes_the_sentence_and_is_exit_status_0(trained_run, tmp_path):
    np.save(tmp_path / "long.npy", random_features(np.random.default_rng(0), 60_000))
    command = [sys.executable, "tools/live.py", f"--checkpoint={trained_run[1]}", "--json"]
    process = subprocess.Popen(
        [*command, f"--source={tmp_path / 'long.npy'}", "--simulate"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stdout.readline()
        assert json.loads(first)["event"] == "start"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "SIGINT: finishing the sentence; Ctrl-C stops at once" in err
    last = events(first + out)[-1]
    assert last["event"] == "end" and last["why"].endswith("stopped by the user")
    assert last["count"] < 60_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--source={tmp}/bad.npy"], "bad.npy: unreadable"),
        (["--source={tmp}/bad.mp4"], "bad.mp4: is not a video that can be read"),
        (["--source={tmp}/a.npy", "--chunk=0"], "chunk is 0"),
        (
            ["--source={tmp}/a.npy", "--checkpoint={tmp}/bad.mp4"],
            "not a file that tools/export.py",
        ),
        (["--source={tmp}/bad.mp4", "--model={tmp}/gone.task"], "the model cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(trained_run, command, tmp_path, flags, message):
    np.save(tmp_path / "a.npy", random_features(np.random.default_rng(0), 8))
    (tmp_path / "bad.npy").write_text("no array")
    (tmp_path / "bad.mp4").write_text("no video")
    given = [flag.format(tmp=tmp_path) for flag in flags]
    defaults = (f"--checkpoint={trained_run[1]}", f"--model={videos.model()}")
    status, printed = command("live.py", *defaults, *given)
    assert status == 2 and message in printed and "Traceback" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1

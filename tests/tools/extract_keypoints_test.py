import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import videos
from tests.helpers.processes import ROOT


@pytest.fixture
def folder(tmp_path):
    pictures, times = videos.pictures_of(videos.shared("videos/soup.mp4"))
    path = tmp_path / "mes vidéos"
    path.mkdir()
    videos.write(path / "a.mp4", pictures[5:17], np.array(times[5:17]) - times[5])
    return path


def test_videos_become_keypoints_and_keypoints_become_pictures(command, folder, tmp_path):
    out = tmp_path / "train" / "features"
    flags = (f"--videos={folder}", f"--out={out}", f"--model={videos.model()}")
    done = subprocess.run(  # in a process of its own: MediaPipe logs what Python does not see
        [sys.executable, "tools/extract_keypoints.py", *flags],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == "" and done.stdout.splitlines()[-1] == "1 of 1 clips have keypoints"
    (folder / "bad.mp4").write_text("no video")
    status, printed = command("extract_keypoints.py", *flags)
    assert status == 1 and "1 of 2 clips have keypoints\n1 failed:\n  bad: " in printed
    assert printed.endswith("damaged (Invalid data found when processing input); replace it\n")

    for name, more in (("on.mp4", [f"--video={folder / 'a.mp4'}"]), ("black.png", [])):
        seen = command("view_keypoints.py", out / "a.npy", f"--out={tmp_path / name}", *more)
        assert seen == (0, f"wrote {tmp_path / name}\n")
    pictures, times = videos.pictures_of(tmp_path / "on.mp4")
    assert len(pictures) == 12 and times[-1] == pytest.approx(11 / 29.97, abs=2e-3)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--shard=3/2", "argument --shard: '3/2' is not i/n with i from 1 to n, for example 1/4"),
        ("--fps=0", "error: fps 0 must be from 1 to 1000"),
        ("--model=/gone.task", "error: /gone.task: the model cannot be read (No such file"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(command, folder, tmp_path, flag, message):
    out = f"--out={tmp_path / 'out'}"
    status, printed = command("extract_keypoints.py", f"--videos={folder}", out, flag)
    assert status == 2 and message in printed.splitlines()[-1]
    assert not (tmp_path / "out").exists()

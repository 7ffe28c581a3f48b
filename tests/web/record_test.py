"""Takes of a camera of real signing, as a person records them, become a data set."""

import numpy as np
import pytest

from tests.helpers import videos
from tests.web.conftest import until, write_mjpeg
from wsign_jax.data import layout
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Landmarker

STARTS = 4
# The camera shows each picture so often, and its clock is as much slower: a busy machine sees hands in
# few pictures a second.
SLOWER = 5
SLOW_CLOCK = f"""() => {{
  const {{ worker }} = views.record.page;
  const see = worker.see.bind(worker);
  worker.see = (picture, time, recognize) => see(picture, time / {SLOWER}, recognize);
}}"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "slow.mjpeg"
    pictures, _ = videos.pictures_of(videos.shared("videos/soup.mp4"))
    write_mjpeg(path, [picture for picture in pictures for _ in range(SLOWER)])
    return path


def test_what_the_camera_shows_becomes_a_data_set(recorder, recordings, command, tmp_path):
    page = recorder
    page.evaluate(SLOW_CLOCK)
    page.fill("#record-glosses", "soup\nsalt")
    page.fill("#record-takes", "3")
    page.fill("#record-seconds", "1")
    said = ""
    for _ in range(STARTS):  # it stops if three takes in a row are no good, as on a busy machine
        page.click("#record-start")
        until(
            page, "document.getElementById('record-start').textContent === 'Start recording'", 120
        )
        said = page.inner_text("#problem") or page.inner_text("#record-says")
        if said == "All takes are done.":
            break
    assert said == "All takes are done." and recordings.counts() == {"salt": 3, "soup": 3}
    status, printed = command(
        "prepare_corpus.py", "auto", f"--root={recordings.folder}", f"--out={tmp_path / 'data'}"
    )
    assert status == 0, printed
    pictures, times = videos.pictures_of(videos.shared("videos/soup.mp4"))
    with Landmarker(videos.model()) as landmarker:
        seen = [d for shown in zip(pictures, times, strict=True) for d in landmarker.detect(*shown)]
    takes = [layout.read_features(path) for path in (tmp_path / "data").glob("*/features/*.npy")]
    assert len(takes) == 6
    frames = np.concatenate(takes)
    for hand, rows in enumerate(joints.HANDS):
        found = frames[frames[:, rows.start, joints.CONFIDENCE] > 0, rows, :2]
        expected = [detection.landmarks[:, :2] for detection in seen if detection.hand == hand]
        apart = np.abs(np.median(found, axis=0) - np.median(expected, axis=0)).max()
        print(f"{len(found)} of {len(frames)} frames, {apart:.3f} apart")
        assert len(found) > 0.4 * len(frames) and apart < 0.05

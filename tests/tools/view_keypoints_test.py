import os

import cv2
import numpy as np
import pytest

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import draw, joints, video

ORANGE, BLUE = (255, 140, 0), (0, 200, 255)


@pytest.fixture
def view(command):
    return lambda *flags: command("view_keypoints.py", *flags)


@pytest.fixture
def features():
    """Half a second of two hands; the right one comes later."""
    hand = np.random.default_rng(0).uniform(-0.05, 0.05, (21, 2))
    positions = np.zeros((31, 42, 3))
    positions[:, joints.LEFT, :2] = hand + np.array([0.75, 0.3])
    positions[:, joints.RIGHT, :2] = hand + np.array([0.25, 0.3])
    confidence = np.ones((31, 2))
    confidence[:10, 1] = 0.0
    return joints.features_from_positions(positions, confidence)


def colors_in(image):
    """Where orange and blue are: the mean column of each, or None."""
    found = []
    for color in (ORANGE, BLUE):
        near = np.abs(image.astype(int) - color).sum(-1) < 120
        found.append(float(near.nonzero()[1].mean()) / image.shape[1] if near.any() else None)
    return found


def test_hands_are_drawn_where_they_are_in_their_colors(features):
    black = np.zeros((240, 320, 3), np.uint8)
    assert colors_in(draw.draw_skeleton(black, features[0])) == [
        pytest.approx(0.75, abs=0.05),
        None,
    ]
    left, right = colors_in(draw.draw_skeleton(black, features[20]))
    assert (left, right) == (pytest.approx(0.75, abs=0.05), pytest.approx(0.25, abs=0.05))
    assert not black.any()  # it was a copy


def test_every_picture_of_a_video_gets_its_own_frame(features, tmp_path):
    gray = [np.full((48, 64, 3), 50, np.uint8)] * 4
    times = (0.0, 0.1, 0.2, 0.5)
    shown = draw.draw_on_pictures(features, map(video.Picture, times, gray))
    assert [colors_in(picture.image)[1] is not None for picture in shown] == [
        False,
        False,
        True,
        True,
    ]
    for wrong in ((0.0, 0.4), (0.0, 0.6)):
        with pytest.raises(
            WSignError, match=r"the keypoints end after 0\.52 s, the video does not"
        ):
            list(draw.draw_on_pictures(features, map(video.Picture, wrong, gray)))


def test_videos_and_contact_sheets_are_written(view, features, tmp_path):
    np.save(tmp_path / "a.npy", features)
    for name in ("a.mp4", "a.png"):
        wrote = (0, f"wrote {tmp_path / name}\n")
        assert view(tmp_path / "a.npy", "--out", tmp_path / name) == wrote
    pictures, times = videos.pictures_of(tmp_path / "a.mp4")
    np.testing.assert_allclose(times, np.arange(31) / 60, atol=1e-3)
    assert colors_in(pictures[0])[1] is None and colors_in(pictures[-1])[1] is not None
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet.shape[1] == 4 * 320 and sheet.shape[0] % 3 == 0
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.npy", "a.png"]


def test_hands_with_nan_in_them_are_not_drawn(view, features, tmp_path):
    for number, wrong in enumerate((np.nan, np.inf, 1e30)):
        bad = features.copy()
        bad[:, joints.RIGHT.start + 3, :2] = wrong
        np.save(tmp_path / "a.npy", bad)
        assert view(tmp_path / "a.npy", "--out", tmp_path / f"10:{number}.mp4")[0] == 0
        shown = colors_in(videos.pictures_of(tmp_path / f"10:{number}.mp4")[0][-1])
        assert shown[0] is not None and shown[1] is None


def test_a_long_video_fits_on_a_sheet():
    pictures = (video.Picture(n / 30, np.full((9, 16, 3), n % 250, np.uint8)) for n in range(900))
    sheet = draw.contact_sheet(pictures, count=4, columns=2, width=16)
    assert sheet.shape == (18, 32, 3)


def test_mistakes_are_one_line(view, features, tmp_path):
    good, bad = tmp_path / "a.npy", tmp_path / "bad.npy"
    np.save(good, features)
    (tmp_path / "there.mp4").write_text("mine")
    (own := tmp_path / "own.mp4").write_text("mine too")
    for path, out, message in (
        (good, "a.gif", "a.gif: --out must end in .mp4 or .png"),
        (good, "there.mp4", "there.mp4: is there already; choose another name, or delete it"),
        (bad, "a.mp4", "bad.npy: missing"),
        (own, "own.mp4", "own.mp4: is read here, so it cannot be replaced; name another --out"),
    ):
        assert view(path, "--out", tmp_path / out) == (2, f"error: {tmp_path}/{message}\n")
    # Where not even root can write.
    for out in ("/proc/a.mp4", "/proc/a.png", f"{good}/a.mp4"):
        status, line = view(good, "--out", out)
        assert status == 2 and line.startswith(f"error: {good if out[1] != 'p' else out}")
        assert line.count("\n") == 1
    for fps in ("0", "nan", "1e9"):
        status, line = view(good, "--out", tmp_path / "a.mp4", f"--fps={fps}")
        assert status == 2 and "error: --fps=" in line and "from 1 to 1000" in line
    (tmp_path / "to.png").symlink_to(tmp_path / "elsewhere.png")
    assert "to.png: is there already" in view(good, "--out", tmp_path / "to.png")[1]
    assert not (tmp_path / "elsewhere.png").exists()
    for array, message in (
        (np.zeros((4, 2)), "float64 of shape (4, 2) is not (T, 42, 7) floats"),
        (b"no array", "unreadable (the magic string is not correct"),
    ):
        bad.write_bytes(array) if isinstance(array, bytes) else np.save(bad, array)
        assert f"bad.npy: {message}" in view(bad, "--out", tmp_path / "a.mp4")[1]
    assert (tmp_path / "there.mp4").read_text() == "mine" and not (tmp_path / "a.mp4").exists()

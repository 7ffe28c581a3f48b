import signal
import subprocess
import sys

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints, preview
from wsign_jax.keypoints.video import load_cv2

NO_HANDS = np.zeros((joints.NUM_JOINTS, joints.NUM_FEATURES), np.float32)


@pytest.fixture
def screen(monkeypatch):
    """A screen that cannot be seen: what is shown, the key that is pressed, whether it is there."""

    class Screen:
        shown, key, visible = None, -1, 1.0

        def show(self, title, image):
            del title
            self.shown = image

    cv2, screen = load_cv2(), Screen()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(preview, "is_fatal", lambda: False)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(screen, "shown", None))
    monkeypatch.setattr(cv2, "imshow", screen.show)
    monkeypatch.setattr(cv2, "waitKey", lambda _: screen.key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: screen.visible)
    return screen


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a screen has no DISPLAY")
def test_without_a_screen_one_line_says_so(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(WSignError, match="--show: there is no screen"):
        preview.PreviewWindow("test")
    monkeypatch.setenv("DISPLAY", ":54321")  # one that is gone
    with pytest.raises(WSignError, match="--show: no window opens on DISPLAY=:54321; leave it out"):
        preview.PreviewWindow("test")
    # Not for another reason.
    program = [sys.executable, "-c", preview._OPEN]
    tried = subprocess.run(program, capture_output=True, text=True, check=False)
    assert tried.returncode == -signal.SIGABRT and "display :54321" in tried.stderr


def test_pictures_are_shown_in_their_colors_until_q_or_the_cross(screen):
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 255
    with preview.PreviewWindow("test") as shown:
        shown.show(red, NO_HANDS, [])
        assert screen.shown[0, 0].tolist() == [0, 0, 255]  # OpenCV's order is BGR
        assert not shown.closed
        screen.key = ord("q")
        shown.show(red, NO_HANDS, [])
        assert shown.closed
    assert screen.shown is None
    screen.key, screen.visible = -1, 0.0
    with preview.PreviewWindow("test") as shown:
        shown.show(red, NO_HANDS, [])
        assert shown.closed


def test_hands_are_drawn_where_they_are():
    hands = NO_HANDS.copy()
    hands[joints.RIGHT, :2], hands[joints.RIGHT, joints.CONFIDENCE] = (0.25, 0.25), 1.0
    shown = preview.annotate(np.full((120, 160, 3), 90, np.uint8), hands, [])
    rows, columns = (shown != 90).any(axis=2).nonzero()
    assert rows.mean() == pytest.approx(160, abs=2) and columns.mean() == pytest.approx(160, abs=2)


def test_text_lies_at_the_bottom_and_of_too_much_the_end_is_seen():
    small = np.full((120, 160, 3), 90, np.uint8)
    bare = preview.annotate(small, NO_HANDS, [])
    assert bare.shape == (480, 640, 3) and (bare == 90).all()
    changed = (preview.annotate(small, NO_HANDS, ["SOUP"]) != 90).any(axis=(1, 2)).nonzero()[0]
    assert changed.min() > 400
    # Accents fit the font; nothing runs over the edge.
    long = preview.annotate(small, NO_HANDS, ["SÜDEN " * 40 + "END"])
    np.testing.assert_array_equal(long, preview.annotate(small, NO_HANDS, ["SUDEN " * 40 + "END"]))
    assert (long[:, -3:] <= 90).all()

"""A window on the screen with the picture, the hands that were found in it, and lines of text."""

import os
import subprocess
import sys
import unicodedata
from collections.abc import Sequence

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import draw
from wsign_jax.keypoints.video import load_cv2

_OPEN = "import cv2; cv2.namedWindow('WhisperSign-JAX')"
_PATIENCE = 30.0  # seconds
_HEIGHT = 480  # pixels at least, so that text can be read
_KEYS_THAT_CLOSE = (ord("q"), 27)  # q and Escape


class PreviewWindow:
    """A window that shows one picture after another until the user closes it.

    A context manager; leaving it closes the window too.
    """

    def __init__(self, title: str):
        """Opens a window; raises a `WSignError` if there is no screen, or OpenCV cannot show windows."""
        if sys.platform == "linux":
            if not (screen := os.environ.get("DISPLAY")):
                raise WSignError("--show: there is no screen (DISPLAY is not set); leave it out")
            load_cv2()  # reports a missing library
            if is_fatal():
                raise WSignError(f"--show: no window opens on DISPLAY={screen}; leave it out")
        self._cv2 = load_cv2()
        self._title = title
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_AUTOSIZE | self._cv2.WINDOW_GUI_NORMAL)
        except self._cv2.error:
            raise WSignError("--show: this OpenCV cannot show windows; leave it out") from None
        self.closed = False

    def __enter__(self) -> "PreviewWindow":
        return self

    def __exit__(self, *exception: object) -> None:
        self._cv2.destroyAllWindows()

    def show(self, image: np.ndarray, hands: np.ndarray, lines: Sequence[str]) -> None:
        """Shows a picture as `annotate` does; `closed` then tells whether the user closed the window."""
        cv2 = self._cv2
        shown = annotate(image, hands, lines)
        cv2.imshow(self._title, cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        visible = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE)
        self.closed |= key in _KEYS_THAT_CLOSE or visible < 1


def is_fatal() -> bool:
    """Tries in another process whether a window ends it or hangs, as Qt does without a screen."""
    program = [sys.executable, "-c", _OPEN]
    try:
        tried = subprocess.run(program, capture_output=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return True
    return tried.returncode < 0


def annotate(image: np.ndarray, hands: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Returns a picture with hands (42, 7) on it and lines of text at its bottom.

    The picture is (height, width, 3) uint8 RGB; a small one is enlarged. A line that does not fit loses
    its left end, where the older glosses are.
    """
    cv2 = load_cv2()
    factor = max(1, -(-_HEIGHT // image.shape[0]))
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    image = draw.draw_skeleton(image, hands)
    height, width = image.shape[:2]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 700
    thickness, step = max(1, round(2 * scale)), round(34 * scale)
    image[height - len(lines) * step :] //= 3  # so that white can be read on it
    for number, line in enumerate(reversed(lines)):
        text = _ascii(line)
        while text and cv2.getTextSize(text, font, scale, thickness)[0][0] > width - 2 * step // 3:
            text = text[1:]
        place = (step // 3, height - number * step - step // 3)
        cv2.putText(image, text, place, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return image


def _ascii(text: str) -> str:
    """Drops accents and turns other letters into question marks: OpenCV's font has only ASCII."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()

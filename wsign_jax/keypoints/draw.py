"""Draws keypoints as skeletons, on the video or on black, into a video or a picture."""

import contextlib
import fractions
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Detection
from wsign_jax.keypoints.video import Picture, load_av, load_cv2

_COLORS = ((255, 140, 0), (0, 200, 255))  # RGB of the left and the right hand
_PALM = (joints.WRIST, 5, 9, 13, 17, joints.WRIST)
_LINES = (_PALM, *((joints.WRIST, *finger) for finger in joints.FINGERS))  # of a hand
_BLACK_WIDTH = 640  # pixels of pictures on black
_TICKS = 1000  # per second, in the times of written videos


def strokes(frame: np.ndarray) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Yields the lines to draw for every hand that was seen in one frame of features, (42, 7).

    A hand with NaN or garbage in it is left out.

    Yields:
        The color of the hand (RGB), and (n, 2) x, y of the joints along a line.
    """
    for rows, color in zip(joints.HANDS, _COLORS, strict=True):
        hand = frame[rows]
        if hand[joints.WRIST, joints.CONFIDENCE] and joints.plausible(hand).all():
            for line in _LINES:
                yield color, hand[list(line), :2]


def draw_skeleton(image: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Returns a copy of a (height, width, 3) uint8 RGB picture with the hands of one frame drawn on it.

    The frame has (42, 7) features in picture widths.
    """
    cv2 = load_cv2()

    image = image.copy()
    width = image.shape[1]
    thickness = max(1, width // 320)
    for color, line in strokes(frame):
        # OpenCV does not accept coordinates far outside the picture.
        path = np.rint(np.clip(line * width, -(2**14), 2**14)).astype(np.int32)
        cv2.polylines(image, [path], False, color, thickness, cv2.LINE_AA)
        for point in path.tolist():
            cv2.circle(image, point, thickness + 1, color, -1, cv2.LINE_AA)
    return image


def frame_of_detections(detections: Sequence[Detection]) -> np.ndarray:
    """Returns (42, 7) features of the hands seen in one picture, left and right as MediaPipe says."""
    frame = np.zeros((joints.NUM_JOINTS, joints.NUM_FEATURES), np.float32)
    for seen in detections:
        frame[joints.HANDS[seen.hand], joints.POSITION] = seen.landmarks
        frame[joints.HANDS[seen.hand], joints.CONFIDENCE] = seen.score
    return frame


def black_picture(features: np.ndarray) -> np.ndarray:
    """Returns a black picture, (height, width, 3), as high as the hands of (T, 42, 7) go."""
    heights = features[..., 1]
    lowest = float(heights.max(initial=0.5, where=joints.plausible(heights)))
    return np.zeros((round(_BLACK_WIDTH * min(lowest + 0.05, 2.0)), _BLACK_WIDTH, 3), np.uint8)


def draw_on_black(features: np.ndarray, fps: float = joints.FPS) -> Iterator[Picture]:
    """Yields every frame of (T, 42, 7) drawn on black; the picture is as high as the hands go."""
    black = black_picture(features)
    for number, frame in enumerate(features):
        yield Picture(number / fps, draw_skeleton(black, frame))


def draw_on_pictures(
    features: np.ndarray, pictures: Iterable[Picture], fps: float = joints.FPS
) -> Iterator[Picture]:
    """Yields the pictures of a video, each with the frame of (T, 42, 7) nearest to it drawn on it.

    Raises:
        WSignError: the video is longer or shorter than the features.
    """
    first = None
    nearest = 0
    for picture in pictures:
        first = picture.time_s if first is None else first
        nearest = round((picture.time_s - first) * fps)
        if nearest >= len(features):
            break
        yield Picture(picture.time_s - first, draw_skeleton(picture.image, features[nearest]))
    if abs(nearest - (len(features) - 1)) > 1:
        raise WSignError(
            f"the keypoints end after {len(features) / fps:.2f} s, the video does not; they are of "
            "another video, or of a part of it, or at another --fps"
        )


def contact_sheet(
    pictures: Iterable[Picture], count: int = 12, columns: int = 4, width: int = 320
) -> np.ndarray:
    """Returns one picture, (height, width, 3), of up to `count` pictures spread evenly over a video."""
    cv2 = load_cv2()

    small: list[np.ndarray] = []
    stride = 1
    for number, (time_s, image) in enumerate(pictures):
        if number % stride:
            continue
        size = (width, max(1, round(width * image.shape[0] / image.shape[1])))
        tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        white = (255, 255, 255)
        cv2.putText(tile, f"{time_s:.2f} s", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1)
        small.append(tile)
        if len(small) == 16 * count:  # a long video is thinned out as it comes
            small, stride = small[::2], 2 * stride
    chosen = np.unique(np.linspace(0, len(small) - 1, min(count, len(small))).round().astype(int))
    tiles = [small[index] for index in chosen]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def write_picture(path: pathlib.Path, image: np.ndarray) -> None:
    """Writes a PNG file; raises a `WSignError` if the file is there already."""
    cv2 = load_cv2()

    _, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    _check_free(path)
    files.write(path, content.tobytes())


def write_video(path: pathlib.Path, pictures: Iterable[Picture]) -> None:
    """Writes an MP4 file (H.264) in which every picture has its own time.

    Raises:
        WSignError: the file is there already, or cannot be written.
    """
    av = load_av()
    _check_free(path)
    partial = files.temporary_name(path)
    tick = fractions.Fraction(1, _TICKS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file, av.open(file, "w", format="mp4") as container:
            stream = None
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture.image, format="rgb24")
                if stream is None:
                    stream = container.add_stream("libx264", rate=joints.FPS)
                    # H.264 wants even sides.
                    stream.width, stream.height = (
                        2 * math.ceil(n / 2) for n in (frame.width, frame.height)
                    )
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.time_base = tick
                frame = frame.reformat(stream.width, stream.height, "yuv420p")
                frame.pts, frame.time_base = round(picture.time_s * _TICKS), tick
                container.mux(stream.encode(frame))
            if stream is not None:
                container.mux(stream.encode(None))
        os.replace(partial, path)
    except (av.error.FFmpegError, OSError) as error:
        raise WSignError(f"{path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # its folder may be missing
            partial.unlink()


def _check_free(path: pathlib.Path) -> None:
    if os.path.lexists(path):
        raise WSignError(f"{path}: is there already; choose another name, or delete it")

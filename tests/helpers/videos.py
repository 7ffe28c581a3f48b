"""Small videos to test with, and where the real ones are."""

import fractions
import pathlib
import struct
from collections.abc import Sequence

import av
import numpy as np
import pytest

import wsign_jax

_SHARED = pathlib.Path(wsign_jax.__file__).parents[2] / "shared" / "data"


def shared(name: str) -> pathlib.Path:
    """A file or folder of the shared data; skips the test where it is absent."""
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"the shared data's {name} is not here")
    return path


def model() -> pathlib.Path:
    """The landmarker's model file; skips the test where it is absent."""
    return shared("models/hand_landmarker.task")


def pictures_of(path: pathlib.Path) -> tuple[list[np.ndarray], list[float]]:
    """All pictures of a video, and their times."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="rgb24") for frame in frames], [frame.time for frame in frames]


def write(
    path: pathlib.Path,
    pictures: Sequence[np.ndarray],
    times: Sequence[float] | None = None,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    flip: bool = False,
    pixel_aspect: fractions.Fraction | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    """Writes (height, width, 3) pictures with their times, 30 fps by default, as a video."""
    ticks = 90_000
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = fractions.Fraction(1, ticks)
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=pixels)
            time = number / 30 if times is None else times[number]
            frame.pts, frame.time_base = round(time * ticks), fractions.Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def trim(path: pathlib.Path, share: float) -> None:
    """Has an mp4's edit list show only so much of it, as a phone trims: every byte stays."""
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12  # behind its name, version and the count of edits
    (duration,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, round(duration * share))
    path.write_bytes(content)


def write_sound(path: pathlib.Path) -> None:
    """Writes a video file without a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16_000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbered(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Gray pictures (height, width, 3) that tell their number by their brightness: 10, 20, ..."""
    return [np.full((*size, 3), 10 * (n + 1), np.uint8) for n in range(count)]


def number_of(image: np.ndarray) -> int:
    """Which of `numbered` a decoded picture is."""
    return round(float(image.mean()) / 10) - 1

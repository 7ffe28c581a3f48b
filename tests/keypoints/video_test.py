import fractions
import os
import pathlib
import random
import re
import struct
import zlib

import av
import cv2
import numpy as np
import pytest

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import video

IRREGULAR = (0.0, 0.04, 0.05, 0.2, 0.21, 0.5, 0.9, 0.95)


def numbers_and_times(pictures):
    taken = list(pictures)
    return [videos.number_of(p.image) for p in taken], [p.time_s for p in taken]


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "ffv1")])
def test_pictures_come_with_their_own_times_in_their_order(tmp_path, suffix, codec):
    path = tmp_path / f"irregular.{suffix}"
    videos.write(path, videos.numbered(8), IRREGULAR, codec=codec)  # libx264 uses B-frames
    numbers, times = numbers_and_times(video.read_pictures(path))
    assert numbers == list(range(8))
    np.testing.assert_allclose(times, IRREGULAR, atol=1e-3)  # Matroska counts milliseconds


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "gray", "yuvj420p"])
def test_any_pixel_format_becomes_rgb(tmp_path, pixels):
    codec = "mjpeg" if pixels == "yuvj420p" else "ffv1"
    videos.write(tmp_path / "v.mkv", videos.numbered(3), codec=codec, pixels=pixels)
    for number, picture in enumerate(video.read_pictures(tmp_path / "v.mkv")):
        assert picture.image.shape == (48, 64, 3) and picture.image.dtype == np.uint8
        assert picture.image.flags.c_contiguous and videos.number_of(picture.image) == number


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_pictures_are_turned_as_the_file_says(tmp_path, rotation, flip):
    corner = np.zeros((48, 64, 3), np.uint8)
    corner[:16, :16] = 255  # top left as stored
    videos.write(tmp_path / "v.mp4", [corner] * 2, rotation=rotation, flip=flip)
    shown = np.rot90(corner, rotation // 90)
    shown = shown[:, ::-1] if flip else shown
    for picture in video.read_pictures(tmp_path / "v.mp4"):
        assert picture.image.shape == shown.shape
        assert np.abs(picture.image.astype(int) - shown).mean() < 8


def test_pixels_become_square(tmp_path):
    wide = fractions.Fraction(3, 2)
    videos.write(tmp_path / "v.mp4", videos.numbered(2), pixel_aspect=wide)
    assert [p.image.shape for p in video.read_pictures(tmp_path / "v.mp4")] == [(48, 96, 3)] * 2


def test_a_part_of_a_video(tmp_path):
    videos.write(tmp_path / "v.mp4", videos.numbered(20), options={"g": "5"})
    part = video.read_pictures(tmp_path / "v.mp4", start_s=0.3, end_s=0.5)
    numbers, times = numbers_and_times(part)
    assert numbers == [9, 10, 11, 12, 13, 14]
    np.testing.assert_allclose(times, np.array(numbers) / 30, atol=1e-4)
    with pytest.raises(WSignError, match=r"v.mp4: has no pictures from 7 s to 9 s"):
        list(video.read_pictures(tmp_path / "v.mp4", start_s=7.0, end_s=9.0))


def test_a_box_is_cut_out_of_the_picture(tmp_path):
    halves = np.zeros((48, 64, 3), np.uint8)
    halves[:, 32:] = 200
    videos.write(tmp_path / "v.mkv", [halves], codec="ffv1", pixels="yuv444p")
    (picture,) = video.read_pictures(tmp_path / "v.mkv", box=(0.25, 0.5, 1.0, 2.0))
    assert picture.image.shape == (36, 32, 3) and picture.image.min() > 190
    with pytest.raises(WSignError, match=r"box \(0.5, 0.5, 0.5, 1\) is empty"):
        list(video.read_pictures(tmp_path / "v.mkv", box=(0.5, 0.5, 0.5, 1)))


def test_a_folder_of_pictures_is_read_by_number(tmp_path):
    for number, picture in enumerate(videos.numbered(12)):
        cv2.imwrite(str(tmp_path / f"bild-ä{number}.png"), picture)
    (tmp_path / "notes.txt").write_text("no picture")
    numbers, times = numbers_and_times(video.read_pictures(tmp_path, fps=25))
    assert numbers == list(range(12))  # 10 comes after 9
    np.testing.assert_allclose(times, np.arange(12) / 25)
    with pytest.raises(WSignError, match="pictures carry no times; say at how many fps"):
        list(video.read_pictures(tmp_path))
    cv2.imwrite(str(tmp_path / "bild-ä99.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(WSignError, match=r"bild-ä99.png: is 8x8, those before it are not"):
        list(video.read_pictures(tmp_path, fps=25))
    for fps in (0.0, float("nan"), float("inf")):
        with pytest.raises(WSignError, match="say at how many fps they were taken, up to 1000"):
            list(video.read_pictures(tmp_path, fps=fps))


def test_pictures_whose_time_does_not_increase_are_left_out(tmp_path, monkeypatch):
    def unordered(*_):
        for number, time in enumerate((0.0, 0.1, 0.1, 0.05, 0.2)):
            yield video.Picture(time, videos.numbered(5)[number])

    monkeypatch.setattr(video, "_video", unordered)
    assert numbers_and_times(video.read_pictures(tmp_path / "v.mp4")) == (
        [0, 1, 4],
        [0.0, 0.1, 0.2],
    )


def test_a_title_in_another_encoding_is_no_reason_to_refuse_a_video(tmp_path):
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Gr\u00fc\u00dfe"
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(videos.numbered(1)[0], format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert "Gr\u00fc\u00df".encode() in content
    path.write_bytes(content.replace("\u00fc\u00df".encode(), b"\xfc\xdf\xfc\xdf"))
    assert len(list(video.read_pictures(path))) == 1


@pytest.mark.parametrize(
    "name",
    ["10:30.mp4", "sign:hello.mp4", "concat:a.mp4", "http:/127.0.0.1:1/a.mp4", "caf\udce9.mp4"],
)
def test_a_file_is_opened_as_a_file_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    videos.write(tmp_path / "v.mp4", videos.numbered(3))
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    os.rename("v.mp4", name)
    assert len(list(video.read_pictures(pathlib.Path(name)))) == 3


def png(width, height):
    """A picture that says it is of that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (head, b"IDAT" + zlib.compress(bytes(100)), b"IEND")
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty, or too large"),
        (png(60_000, 60_000), "empty, or too large"),
        (b"torn", "damaged, or of another kind"),
    ],
    ids=["empty", "huge", "torn"],
)
def test_a_picture_that_cannot_be_read_is_named_itself(tmp_path, content, what):
    (tmp_path / "2.png").mkdir()  # not a picture
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(WSignError) as caught:
        list(video.read_pictures(tmp_path, fps=25))
    path = tmp_path / "1.png"
    assert str(caught.value) == f"{path}: is not a picture that can be read ({what}); replace it"


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_bad_files_are_named_with_what_is_wrong(tmp_path):
    path = tmp_path / "v.mp4"
    for content, what in ((b"", "is empty"), (b"text\n" * 99, "is not a video that can be read")):
        path.write_bytes(content)
        with pytest.raises(WSignError, match=f"v.mp4: {what}"):
            list(video.read_pictures(path))
    videos.write_sound(path)
    with pytest.raises(WSignError, match=r"v.mp4: has no video, only sound"):
        list(video.read_pictures(path))
    with pytest.raises(WSignError, match=r"gone.mp4: .*No such file"):
        list(video.read_pictures(tmp_path / "gone.mp4"))


def noise(path, count):
    """Pictures of one size in bytes, with the index first, so that what is left of a file opens."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(count)]
    options = {"movflags": "faststart"}
    videos.write(path, pictures, codec="mjpeg", pixels="yuvj420p", container_options=options)


@pytest.mark.parametrize(
    ("suffix", "what"),
    [("mp4", r"2\d of its 60 pictures are missing"), ("mkv", r"it ends after 1\.\d of 2\.0 s")],
)
def test_of_a_file_that_was_cut_off_over_a_second_is_taken_with_a_warning(
    tmp_path, capsys, suffix, what
):
    path = tmp_path / f"v.{suffix}"
    noise(path, 60)
    assert len(list(video.read_pictures(path))) == 60 and capsys.readouterr().err == ""
    whole = path.read_bytes()
    cut(path, 0.7)
    missing = []
    assert 35 < len(list(video.read_pictures(path, on_missing=missing.append))) < 45
    assert re.fullmatch(what, missing[0]) and len(missing) == 1
    assert list(video.read_pictures(path)) and capsys.readouterr().err == (
        f"warning: {path}: {missing[0]}\n"
    )
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(WSignError, match=rf"v.{suffix}: is cut off \(.*\); copy or download it"):
        list(video.read_pictures(path))


@pytest.mark.parametrize(
    ("options", "share", "shown"),
    [
        ({}, 0.6, 39),  # B-frames: the demuxer gives packets to be discarded
        ({}, 62 / 64, 62),
        ({"bf": "0", "g": "1"}, 0.6, 39),  # and passes over others
    ],
)
def test_a_trimmed_video_is_whole(tmp_path, capsys, options, share, shown):
    path = tmp_path / "v.mp4"
    videos.write(path, videos.numbered(8) * 8, options=options)
    videos.trim(path, share)
    assert abs(len(list(video.read_pictures(path))) - shown) <= 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("times", "what"),
    [
        ((0.0, 0.1, 8e4), r".* before was 0\.100000 s, more than an hour; .* cut there"),
        ((0.0, 0.1, 186400.0), "has a picture at 186400 s, over a day; cut it in pieces"),
    ],
)
def test_times_that_jump_are_named(tmp_path, monkeypatch, times, what):
    pictures = [video.Picture(time, np.zeros((2, 2, 3), np.uint8)) for time in times]
    monkeypatch.setattr(video, "_video", lambda *_: (picture for picture in pictures))
    with pytest.raises(WSignError, match=f"v.mkv: {what}"):
        list(video.read_pictures(tmp_path / "v.mkv"))


def mutations(content, count, seed):
    """Copies with bytes changed, most in the container's own, some cut off."""
    rng = random.Random(seed)
    index = max(content.find(b"moov"), 0)
    for number in range(count):
        changed = bytearray(content)
        places = range(index, min(index + 3000, len(content)))
        for _ in range(rng.choice((1, 2, 4, 16))):
            place = rng.choice(places if number % 4 else range(len(content)))
            changed[place] = rng.choice((rng.randrange(256), 0, 255, 127, 128))
        if number % 10 == 9:
            del changed[rng.randrange(len(changed)) :]
        yield bytes(changed)


def test_whatever_bytes_change_a_video_is_read_or_refused(tmp_path):
    sources = [tmp_path / "v.mp4", tmp_path / "v.mkv", videos.shared("videos/soup.mp4")]
    for source in sources[:2]:
        videos.write(source, videos.numbered(12))
    path, read = tmp_path / "changed.mp4", 0
    for source, count in zip(sources, (140, 50, 10), strict=True):
        for changed in mutations(source.read_bytes(), count, seed=count):
            path.write_bytes(changed)
            try:
                read += bool(list(video.read_pictures(path, on_missing=lambda _: None)))
            except WSignError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert 20 < read < 190


def test_reading_ahead_gives_the_same_and_passes_errors_on(tmp_path):
    path = tmp_path / "v.mp4"
    videos.write(path, videos.numbered(20))
    assert numbers_and_times(video.read_ahead(video.read_pictures(path))) == numbers_and_times(
        video.read_pictures(path)
    )
    path.write_bytes(b"")
    with pytest.raises(WSignError, match="is empty"):
        list(video.read_ahead(video.read_pictures(path)))


def test_reading_ahead_stops_with_its_reader(tmp_path):
    closed = []

    def endless():
        try:
            while True:
                yield video.Picture(0.0, np.zeros((2, 2, 3), np.uint8))
        finally:
            closed.append(True)

    pictures = video.read_ahead(endless())
    next(pictures)
    pictures.close()
    assert closed == [True]

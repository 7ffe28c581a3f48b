"""Real signing, from the pictures of a video or a camera to glosses: the page's are those of Python.

A small model learns the signs of the two shared videos from what Python's MediaPipe sees in them. The
page sees the same pictures with MediaPipe's build for browsers, which is of another version, and in the
colors that the browser decodes. So landmarks differ, more where a hand is blurred: on soup.mp4 no more
than Python's own do if each pixel is changed by up to two levels of 255.
"""

import json
import pathlib
from typing import NamedTuple

import numpy as np
import pytest

from tests.conftest import promoting
from tests.helpers import videos
from tests.helpers.small import small_config
from tests.web.conftest import opened, serving, until, write_mjpeg
from tests.web.page_test import GLOSSES, KEEP_PICTURES
from wsign_jax.data import layout
from wsign_jax.evaluate.trained_run import open_run
from wsign_jax.keypoints import extract, joints
from wsign_jax.keypoints.landmarker import Landmarker
from wsign_jax.train import loop
from wsign_jax.web import model_folder, site

FPS = 30
HEIGHT, WIDTH = 368, 320  # of a picture; its last rows are its number
NUMBER_ROWS, BITS = 8, 10
REST = 15  # pictures without hands before and after a sign
SIGNS = ("SOUP", "SELFIE")
SHOWN = ("SOUP", "SELFIE", "SELFIE")
# The model must know signs in every picture and in every fourth, since a slow machine drops pictures.
STEPS = (1, 2, 3, 4)

# The camera shows each picture so often, lest a busy machine drops many of them. The page gets them with
# the times that they have in the video, once, until the video begins again.
REPEATED = 5
AT_VIDEO_TIMES = f"""() => {{
  const {{ worker }} = window.views.live.page;
  const see = worker.see.bind(worker);
  const pen = new OffscreenCanvas({WIDTH}, {HEIGHT}).getContext("2d", {{ willReadFrequently: true }});
  window.numbers = [];
  worker.see = async (picture, time, recognize) => {{
    pen.drawImage(picture, 0, 0);
    const {{ data }} = pen.getImageData(0, {HEIGHT - NUMBER_ROWS // 2}, {WIDTH}, 1);
    let number = 0;
    for (let bit = 0; bit < {BITS}; bit++) {{
      number += (data[4 * Math.floor((bit + 0.5) * {WIDTH // BITS})] > 127) << bit;
    }}
    window.begunAgain ||= number < window.numbers.at(-1);
    if (window.begunAgain || number === window.numbers.at(-1)) {{
      picture.close();
      return {{ hands: [], width: {WIDTH}, height: {HEIGHT}, time, landmarksMs: 0, result: null }};
    }}
    window.numbers.push(number);
    return see(picture, number / {FPS}, recognize);
  }};
}}"""


class Signing(NamedTuple):
    """What there is of the two signs."""

    signs: dict[str, list[np.ndarray]]  # the pictures of each
    run: pathlib.Path  # a model that knows them
    camera: pathlib.Path  # what SHOWN tells, for a fake camera


def on_canvas(picture):
    """A picture in the middle of a black one of the size of all."""
    height, width = picture.shape[:2]
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    top, left = (HEIGHT - NUMBER_ROWS - height) // 2, (WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return canvas


def number_pictures(pictures):
    """The same with their numbers in white and black squares at the bottom."""
    numbered = []
    for number, picture in enumerate(pictures):
        bits = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8)
        numbered.append(picture.copy())
        numbered[-1][-NUMBER_ROWS:] = np.repeat(bits, WIDTH // BITS)[None, :, None]
    return numbered


def train(signs, folder):
    """Trains a run on sentences that are joined of the signs, as Python sees them."""
    seen = {name: [] for name in SIGNS}
    for name, pictures in signs.items():
        for step in STEPS:
            clip = folder / f"{name}-{step}.mp4"
            times = [number / FPS for number in range(0, len(pictures), step)]
            videos.write(clip, pictures[::step], times, options={"crf": "10"})
            settings, model = extract.ExtractionSettings(), videos.model()
            features, _ = extract.extract_clip(extract.clip_of(clip), settings, model)
            seen[name].append(features)
    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("val", 4), ("test", 4)):
        for number in range(count):
            ids = rng.integers(1, len(SIGNS) + 1, size=rng.integers(1, 4))
            parts = [seen[SIGNS[id - 1]][rng.integers(len(STEPS))] for id in ids]
            layout.write_example(
                folder / "data", split, f"{split}-{number}", np.concatenate(parts), ids
            )
    layout.write_label_map(
        folder / "data", {"<blank>": 0} | {name: id for id, name in enumerate(SIGNS, 1)}
    )
    config = small_config()
    config.data.dir = str(folder / "data")
    config.data.max_buckets = 1
    config.data.augment.update(
        {"speed": 0.1, "scale": 0.1, "shift": 0.05, "hand_mask": 0.3, "temporal_mask": 0.2}
    )
    config.stages = ("stage3",)
    config.stage3.update({"epochs": 12, "lr": 2e-3, "batch_size": 4, "alpha": 1.0})
    config.stage3.update({"chunks": (8,), "left_contexts": (32,)})
    config.eval.every_epochs = 12
    with promoting():
        loop.train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def signing(chromium, given_assets, tmp_path_factory):  # it trains, not where the tests skip
    pytest.importorskip("jax2onnx")
    folder = tmp_path_factory.mktemp("signing")
    rest = [on_canvas(np.zeros((2, 2, 3), np.uint8))] * REST
    soup, _ = videos.pictures_of(videos.shared("videos/soup.mp4"))
    selfie, _ = videos.pictures_of(videos.shared("videos/selfie.mp4"))
    signs = {
        "SOUP": [*rest, *map(on_canvas, soup), *rest],
        "SELFIE": [*rest, *(on_canvas(picture[::2, ::2]) for picture in selfie), *rest],
    }
    shown = number_pictures([picture for name in SHOWN for picture in signs[name]])
    write_mjpeg(folder / "camera.mjpeg", [each for each in shown for _ in range(REPEATED)])
    return Signing(signs, train(signs, folder), folder / "camera.mjpeg")


@pytest.fixture(scope="module")
def camera(signing):
    """The camera of this file's browser."""
    return signing.camera


@pytest.fixture(scope="module")
def site_folder(signing, given_assets, tmp_path_factory):
    """The page with that model."""
    folder = tmp_path_factory.mktemp("page") / "site"
    trained = open_run(signing.run)
    site.write_site(
        folder, lambda to: model_folder.write_model_folder(trained, to), "", given_assets
    )
    return folder


@pytest.fixture
def live(command, signing):
    """Gives the glosses that tools/live.py prints of a video."""

    def recognize(path):
        flags = (f"--checkpoint={signing.run}", f"--source={path}", f"--model={videos.model()}")
        status, printed = command("live.py", *flags, "--json")
        assert status == 0, printed
        events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        return [event for event in events if event["event"] == "stable"]

    return recognize


def check_glosses(found, expected):
    """The page's glosses are those of tools/live.py, two patches earlier or later at most."""
    assert [gloss["label"] for gloss in found] == [gloss["label"] for gloss in expected]
    for ours, theirs in zip(found, expected, strict=True):
        times = ours["start"], ours["end"]
        assert times == pytest.approx((theirs["start"], theirs["end"]), abs=8.5 / joints.FPS)


def check_hands(seen, pictures, times):
    """The page has seen the hands that Python sees."""
    same, apart = 0, []
    with Landmarker(videos.model()) as landmarker:
        for here, picture, time in zip(seen, pictures, times, strict=True):
            scale = [1.0, here["height"] / here["width"], 1.0]
            ours = {hand["hand"]: np.array(hand["points"]) * scale for hand in here["hands"]}
            theirs = {
                ("left", "right")[d.hand]: d.landmarks for d in landmarker.detect(picture, time)
            }
            same += ours.keys() == theirs.keys()
            apart += [np.abs(ours[k] - theirs[k])[:, :2].max() for k in ours.keys() & theirs.keys()]
    print(
        f"the same hands in {same} of {len(seen)} pictures, {np.quantile(apart, [0.5, 0.9])} apart"
    )
    assert same > 0.9 * len(seen)
    assert np.median(apart) < 0.01 and len(apart) > 0.3 * len(seen)


def test_a_video_says_in_the_page_what_it_says_to_live_py(
    browser, site_folder, signing, live, tmp_path
):
    path = tmp_path / "signing.mp4"
    shown = [picture for name in SHOWN for picture in signing.signs[name]]
    videos.write(path, shown, options={"crf": "10"})
    pictures, times = videos.pictures_of(path)
    with serving(site_folder) as address, opened(browser, address) as page:
        page.click("#tab-file")
        page.evaluate(KEEP_PICTURES, "file")
        page.set_input_files("#file-input", path)
        until(page, "/ pictures$/.test(document.getElementById('file-note').textContent)", 240)
        seen, found = page.evaluate("window.seen"), page.evaluate(GLOSSES.format("file"))
    numbers = [round(picture["time"] * FPS) for picture in seen]
    # On a busy machine browsers skip a picture here and there, and do not tell.
    assert numbers == sorted({*numbers}) and len(numbers) > 0.9 * len(times)
    expected = live(path)
    assert [gloss["label"] for gloss in expected] == [*SHOWN]
    check_glosses(found, expected)
    check_hands(seen, [pictures[n] for n in numbers], [times[n] for n in numbers])


def test_a_camera_says_in_the_page_what_it_says_to_live_py(
    browser, site_folder, signing, live, tmp_path
):
    with serving(site_folder) as address, opened(browser, address) as page:
        page.evaluate(AT_VIDEO_TIMES)
        page.click("#live-start")
        until(page, "window.begunAgain", 240)
        page.click("#live-start")
        until(page, "!window.views.live.pictures")
        numbers, found = page.evaluate("window.numbers"), page.evaluate(GLOSSES.format("live"))
    pictures, _ = videos.pictures_of(signing.camera)
    path = tmp_path / "seen.mp4"  # without the pictures that were dropped all the same
    times = [(number - numbers[0]) / FPS for number in numbers]
    videos.write(path, [pictures[REPEATED * n] for n in numbers], times, options={"qp": "0"})
    expected = live(path)
    print(f"{len(numbers)} of {len(pictures) // REPEATED} pictures, {found}, {expected}")
    assert [gloss["label"] for gloss in expected] == [*SHOWN]
    check_glosses(found, expected)

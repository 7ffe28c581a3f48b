"""A site of a small model, served on this machine, and a browser."""

import contextlib
import dataclasses
import hashlib
import io
import shutil
import threading
import time
import urllib.parse

import av
import numpy as np
import pytest

from tests.helpers import videos
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.decode import unknown
from wsign_jax.decode.unknown import KnownSigns
from wsign_jax.evaluate.decoder_settings import DecoderSettings
from wsign_jax.evaluate.trained_run import TUNED, open_run
from wsign_jax.keypoints import landmarker
from wsign_jax.recognize import enrollment
from wsign_jax.web import assets, model_folder, site, training
from wsign_jax.web.recordings import Recordings

SECONDS = 1000  # milliseconds
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def take(**fields):
    """A take as the page sends it."""
    rng = np.random.default_rng(0)
    arrays = {
        "keypoints": rng.uniform(0.2, 0.8, (1, 60, 42, 3)).astype(np.float32),
        "present": np.ones((1, 60, 2), np.uint8),
        "glosses": np.array(["hello"]),
        "signer": np.array(["anna"]),
        "fps": np.array([60.0]),
        "aspect": np.array([1.0]),
    }
    file = io.BytesIO()
    np.savez(file, **(arrays | fields))
    return file.getvalue()


def tell_signs(trained, familiarity, below, enrolled):
    """Gives a run what tells unknown signs, and the frames of each enrolled sign's recordings."""
    known = unknown.to_bytes(KnownSigns(familiarity, familiarity))
    files.write(trained.workdir / unknown.KNOWN_SIGNS, known)
    row = DecoderSettings("greedy", "none", 10, wer=0.5, unknown_below=below, false_accepts=0.5)
    content = {
        "tuned_on": f"checkpoint {trained.checkpoint_steps}, full attention",
        "decoders": [dataclasses.asdict(row)],
        "known_signs": hashlib.sha256(known).hexdigest(),
    }
    files.write_json(trained.workdir / TUNED, content)
    signs = enrollment.Enrolled(trained.vocabulary)
    for name, frames in enrolled.items():
        signs = signs.with_sign(name, frames, [f"{name} {number}" for number in range(len(frames))])
    files.write(trained.workdir / enrollment.ENROLLED, signs.to_bytes())


# Commands that do as the real ones, in little: the folder that they write is their last argument. The
# second one waits until there is a file `go`, or a signal asks it to end.
IMPORT = "pathlib.Path(sys.argv[-1]).mkdir(parents=True)"
TRAIN = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
run = pathlib.Path(sys.argv[-1])
run.mkdir()
print("stage1: 2 steps\\n  train\\nstage2: 5 steps", flush=True)
(run / "metrics.jsonl").write_text('{"step": 2}\\n{"step": 3, "val/wer": 1}\\n{"step": 4')
while not pathlib.Path("go").exists():
    time.sleep(0.01)
"""
PAGE = IMPORT + "; pathlib.Path(sys.argv[-1], 'stream.json').write_text('new')"


@pytest.fixture
def small_training(tmp_path, monkeypatch):
    """Makes a training in an empty current folder, of `takes`, whose commands are small scripts."""
    monkeypatch.chdir(tmp_path)
    make_plan = training.make_plan

    def script(code, folder):
        return "python", "-c", f"import os, pathlib, signal, sys, time\n{code}", str(folder)

    def make(first=IMPORT, second=TRAIN, tuning="pass", page=PAGE):
        def plan(*given):
            planned = make_plan(*given)
            run = planned.run
            commands = (script(first, planned.data), script(second, run), script(tuning, run))
            return planned._replace(commands=(*commands, planned.commands[-1]))

        monkeypatch.setattr(training, "make_plan", plan)
        monkeypatch.setattr(training, "_page_command", lambda _, folder: script(page, folder))
        made.append(training.Training(tmp_path / "takes", tmp_path / "models"))
        return made[-1]

    made = []
    yield make
    for each in made:  # a test that fails leaves one on, which would keep Python from ending
        each.close()


def wait_for(tells):
    """Waits until a function's answer is true."""
    for _ in range(6000):
        if answer := tells():
            return answer
        time.sleep(0.01)
    pytest.fail("not within a minute")


def until(page, condition, seconds=60):
    """Waits until an expression is true; Playwright's own waiting is forbidden by the page's policy."""
    for _ in range(10 * seconds):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"not within {seconds} s: {condition}; {page.inner_text('#problem')}")


@contextlib.contextmanager
def opened(browser, address, **options):
    """The page, ready; afterwards, whether it asked anything of another place than its own."""
    context = browser.new_context(**options)
    context.set_default_timeout(60 * SECONDS)
    page = context.new_page()
    asked, broken = [], []
    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    until(page, "document.getElementById('state').textContent.startsWith('Ready')")
    yield page
    context.close()
    assert not broken
    own = ("http", urllib.parse.urlsplit(address).netloc)
    places = {urllib.parse.urlsplit(url)[:2] for url in asked if not url.startswith("blob:")}
    assert places == {own} and len(asked) > 10


@pytest.fixture(scope="session")
def given_assets(tmp_path_factory):
    """A folder for --assets; skips where npm cannot be reached."""
    folder = tmp_path_factory.mktemp("assets")
    for package in (assets.TASKS_VISION, assets.ONNX_RUNTIME):
        try:
            assets.read_package(package)
        except WSignError as error:
            pytest.skip(f"{package.name} is not here: {error}")
        (folder / package.packed).symlink_to(landmarker.cache_folder() / package.packed)
    (folder / landmarker.MODEL_NAME).symlink_to(videos.model())
    return folder


@contextlib.contextmanager
def serving(folder, recordings=None, training=None, colab=""):
    """Serves a site's folder; the address."""
    uvicorn = pytest.importorskip("uvicorn")
    from wsign_jax.web import server  # noqa: PLC0415 - needs the extra `web`

    listening = server.open_socket("127.0.0.1", 0)
    app = server.make_app(folder, "127.0.0.1", recordings, training, colab)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    port = listening.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def site_folder(given_assets, talkative_run, tmp_path_factory):
    """The page with a model that says much."""
    pytest.importorskip("jax2onnx")
    folder = tmp_path_factory.mktemp("page") / "site"
    trained = open_run(talkative_run)
    site.write_site(
        folder, lambda to: model_folder.write_model_folder(trained, to), "", given_assets
    )
    return folder


def write_mjpeg(path, pictures):
    """Writes pictures as a fake camera takes them."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=30, options={"qmin": "2", "qmax": "4"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def camera(tmp_path_factory):
    """soup.mp4 for a fake camera: two hands that sign, over and over."""
    path = tmp_path_factory.mktemp("camera") / "soup.mjpeg"
    write_mjpeg(path, videos.pictures_of(videos.shared("videos/soup.mp4"))[0])
    return path


@pytest.fixture(scope="session")
def chromium():
    """The program; skips where it is not installed."""
    pytest.importorskip("playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


@pytest.fixture(scope="module")  # while Playwright runs, this thread has an event loop
def browser(chromium, camera):
    """Chromium without a window, whose camera is `camera`."""
    playwright = pytest.importorskip("playwright.sync_api")
    flags = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        "--no-sandbox",  # tests run as root in containers
        "--disable-dev-shm-usage",
    ]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def recordings(tmp_path):
    return Recordings(tmp_path / "takes")


@pytest.fixture
def recorder(browser, recordings, given_assets, tmp_path):
    """The page of a server without a model, which records what the camera shows."""
    folder = tmp_path / "site"
    site.write_site(folder, None, str(recordings.folder), given_assets)
    trains = training.Training(recordings.folder, tmp_path / "models")
    with serving(folder, recordings, trains) as address, opened(browser, address) as page:
        yield page

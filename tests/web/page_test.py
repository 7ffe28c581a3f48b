"""The page in a browser, from the camera to the glosses and to a data set."""

import contextlib
import functools
import http.server
import json
import pathlib
import re
import shutil
import threading
import zipfile

import numpy as np
import pytest

from tests.helpers import videos
from tests.helpers.signs import as_frames
from tests.web.conftest import opened, serving, take, tell_signs, until
from wsign_jax.data import layout
from wsign_jax.data.corpora import npz, prepare
from wsign_jax.decode import unknown
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.transcript import DROP, MARK, UNKNOWN
from wsign_jax.evaluate.trained_run import open_run
from wsign_jax.keypoints import extract
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.recognize import export_onnx
from wsign_jax.recognize.recognizer import Recognizer
from wsign_jax.recognize.run_backend import RunBackend
from wsign_jax.web import model_folder, site
from wsign_jax.web.recordings import Recordings

KEEP_PICTURES = """name => {
  window.seen = [];
  document.getElementById(name).addEventListener("picture", ({ detail }) => window.seen.push(detail));
}"""
# A machine under load finds hands in too few pictures for a take; record_test.py has a slower camera.
SEE_A_HAND = """() => {
  const points = Array.from({ length: 21 }, (_, n) => [0.4 + n / 99, 0.5, 0]);
  const hand = { hand: "right", score: 0.9, points };
  views.record.page.worker.see = async (picture, time) => {
    picture.close();
    return { hands: [hand], width: 320, height: 240, time, landmarksMs: 1, result: null };
  };
}"""
GLOSSES = "() => window.views.{}.transcript.glosses"


def python_glosses(stream, seen):
    """The glosses that Python makes of the hands that the page saw."""
    found = []
    for picture in seen:
        scale = [1.0, picture["height"] / picture["width"], 1.0]
        hands = [
            Detection(
                np.array(hand["points"], np.float64) * scale,
                {"left": LEFT_HAND, "right": RIGHT_HAND}[hand["hand"]],
                hand["score"],
            )
            for hand in picture["hands"]
        ]
        found += stream.push(hands, picture["time"]).stable
    return [*found, *stream.finish().stable]


def stream_of(run):
    return RunBackend(run).stream(None, None, GREEDY, model_folder.ENDPOINT_SECONDS)


def check_glosses(stream, page, name, least=4):
    """The page's glosses are those that Python makes, and not few; returns the pictures' times."""
    seen = page.evaluate("window.seen")
    expected = python_glosses(stream, seen)
    found = page.evaluate(f"window.views.{name}.transcript.glosses")
    assert len(expected) >= least and [g["label"] for g in found] == [g.label for g in expected]
    for ours, theirs in zip(found, expected, strict=True):
        times = (ours["start"], ours["end"], ours["confidence"])
        assert times == pytest.approx((theirs.start, theirs.end, theirs.confidence), abs=1e-3)
    return [picture["time"] for picture in seen]


@contextlib.contextmanager
def any_host(folder):
    """Serves a folder as a web host does that knows nothing of the page; the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        yield f"http://localhost:{host.server_port}"
        host.shutdown()
        thread.join()


def recognize_file(page, name):
    """Lets the page recognize a shared video."""
    page.set_input_files("#file-input", videos.shared(f"videos/{name}.mp4"))
    until(page, f"/{name}.*pictures$/.test(document.getElementById('file-note').textContent)", 120)


def test_a_static_page_recognizes_a_video_as_python_does(browser, site_folder, talkative_run):
    with any_host(site_folder.parent) as host, opened(browser, f"{host}/site/") as page:
        page.click("#tab-file")
        page.evaluate(KEEP_PICTURES, "file")
        recognize_file(page, "soup")
        times = check_glosses(stream_of(talkative_run), page, "file")
        soup = videos.pictures_of(videos.shared("videos/soup.mp4"))[1]
        assert times == pytest.approx(soup, abs=2e-3)  # every picture
        assert page.evaluate("window.seen.filter(({ hands }) => hands.length).length") > 30
        with page.expect_download() as download:
            page.click("#file >> text=Subtitles")
        assert download.value.suggested_filename == "soup.srt"
        assert re.match(r"1\n00:00:0\d,\d{3} --> 00:", download.value.path().read_text())
        with page.expect_download() as download:
            page.click("#file >> text=ELAN")
        assert "<ANNOTATION_DOCUMENT" in download.value.path().read_text()

        page.set_input_files(
            "#file-input", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"?"}
        )
        page.wait_for_selector("#problem:visible")
        assert "cannot decode a.mp4; convert it" in page.inner_text("#problem")


def test_the_camera_is_recognized_as_python_does(browser, site_folder, talkative_run):
    with serving(site_folder) as address, opened(browser, address) as page:
        page.evaluate(KEEP_PICTURES, "live")
        page.click("#live-start")
        until(page, "window.views.live.transcript.glosses.length > 4")
        page.wait_for_selector("#delays >> text=chunk")
        page.click("#live-start")
        until(page, "!window.views.live.pictures")
        check_glosses(stream_of(talkative_run), page, "live")
        said = page.inner_text("#live .transcript").split()
        assert said == [g["label"] for g in page.evaluate(GLOSSES.format("live"))]


@pytest.fixture
def telling_site(site_folder, talkative_run, tmp_path, monkeypatch):
    """The page of a run that tells unknown signs and has an enrolled one, and that run."""
    run, folder = tmp_path / "run", tmp_path / "site"
    shutil.copytree(talkative_run, run)
    shutil.copytree(site_folder, folder)
    trained = open_run(run)
    size = len(trained.vocabulary)
    # Glosses with an even id have examples, and all are less familiar than is asked for.
    ids = np.arange(0, size, 2)
    familiarity = unknown.fit_familiarity(np.eye(size)[ids], ids, size)
    clip = extract.clip_of(videos.shared("videos/soup.mp4"))
    features, _ = extract.extract_clip(clip, extract.ExtractionSettings(), videos.model())
    tell_signs(trained, familiarity, 1e9, {"SOUP": [as_frames(features)]})
    program = (folder / "model" / model_folder.MODEL).read_bytes()
    monkeypatch.setattr(export_onnx, "export_onnx_stream", lambda _, to: to.write_bytes(program))
    model_folder.write_model_folder(trained, folder / "model")
    return folder, run


def test_unknown_signs_are_marked_and_enrolled_ones_recognized(browser, telling_site):
    folder, run = telling_site
    with serving(folder) as address, opened(browser, address) as page:
        page.click("#signs summary")
        *trained, added = page.inner_text("#signs-list").split(", ")
        assert added == "SOUP (enrolled)" and not any("enrolled" in name for name in trained)
        assert page.inner_text("#state") == f"Ready: knows {len(trained) + 1} signs."
        page.click("#tab-file")
        page.evaluate(KEEP_PICTURES, "file")
        recognize_file(page, "soup")
        check_glosses(Recognizer.load(run).stream(unknown=MARK), page, "file", 1)
        assert "SOUP" in page.inner_text("#file .transcript")
        page.evaluate("window.seen = []")
        recognize_file(page, "selfie")
        check_glosses(Recognizer.load(run).stream(unknown=MARK), page, "file")
        shown = page.inner_text("#file .transcript")
        assert "(unknown sign)" in shown and UNKNOWN not in shown
        page.locator("#file").get_by_label("Signs that it does not know").select_option(DROP)
        check_glosses(Recognizer.load(run).stream(unknown=DROP), page, "file", 1)
        assert "unknown" not in page.inner_text("#file .transcript")
        labels = [gloss["label"] for gloss in page.evaluate(GLOSSES.format("file"))]
        assert page.evaluate("window.views.file.transcript.text()").split() == labels


def test_takes_become_a_data_set(recorder, recordings, tmp_path):
    page = recorder
    page.evaluate(SEE_A_HAND)
    page.fill("#record-glosses", "hello\nthank you")
    page.fill("#record-signer", "anna")
    page.fill("#record-takes", "3")
    page.fill("#record-seconds", "1")
    page.click("#record-start")
    until(page, "document.getElementById('record-says').textContent === 'All takes are done.'")
    assert "prepare_corpus.py auto" in page.inner_text("#record-next")
    page.click("#record-redo")
    until(page, "document.querySelector('#record-table').innerText.includes('2')")
    assert (
        recordings.counts()
        == {"hello": 3, "thank-you": 2}
        == Recordings(tmp_path / "takes").counts()
    )
    corpus = prepare.read_corpus("auto", tmp_path / "takes")
    assert {record.signer for record in corpus.records} == {"anna"}
    prepare.write_dataset(corpus, tmp_path / "data", prepare.ImportSettings())
    assert sum(layout.count(tmp_path / "data", split) for split in layout.SPLITS) == 5


def test_live_goes_on_with_the_model_that_the_page_has_trained(
    browser, recordings, site_folder, given_assets, small_training, tmp_path
):
    recordings.save(take())
    site.write_site(tmp_path / "site", None, "takes", given_assets)
    model = site_folder / "model"
    training = small_training(page=f"import shutil; shutil.copytree({str(model)!r}, sys.argv[-1])")
    with (
        serving(tmp_path / "site", recordings, training) as address,
        opened(browser, address) as page,
    ):
        until(page, "!document.getElementById('train-start').disabled")
        page.focus("#train-start")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('train-progress').value === 0.2")
        assert page.inner_text("#train-says") == "Training: stage2."
        assert page.inner_text("#train-line").startswith("1 of 5 steps.")
        pathlib.Path("go").touch()
        until(page, "!document.getElementById('live-start').disabled")
        page.click("#tab-live")
        page.click("#signs summary")
        labels = json.loads((model / "stream.json").read_text())["labels"]
        assert page.inner_text("#signs-list") == ", ".join(labels[1:])


def test_a_take_stays_in_the_page_while_the_server_is_gone(recorder, recordings, tmp_path):
    page = recorder
    page.evaluate(SEE_A_HAND)
    page.fill("#record-glosses", "hello")
    page.fill("#record-takes", "1")
    page.fill("#record-seconds", "1")
    page.route("**/takes", lambda route: route.abort())
    page.click("#record-start")
    page.wait_for_selector("#problem:visible")
    assert "does not answer; 1 take is kept in this page" in page.inner_text("#problem")
    assert recordings.counts() == {}
    with page.expect_download() as download:
        page.click("#record-download")
    download.value.save_as(tmp_path / "takes.zip")
    page.unroute("**/takes")
    page.click("#record-again")
    until(page, "document.getElementById('problem').hidden")
    assert recordings.counts() == {"hello": 1}
    zipfile.ZipFile(tmp_path / "takes.zip").extractall(tmp_path)
    (record,) = npz.read(tmp_path / "recordings").records
    assert record.glosses == ("hello",) and record.keypoints().confidence.any()


@pytest.mark.parametrize(
    ("name", "said"),
    [("NotAllowedError", "allow it in the browser's address bar"), ("NotFoundError", "no camera")],
)
def test_without_a_camera_the_page_says_what_to_do(recorder, name, said):
    recorder.click("#record-start")
    assert "Name the signs to record" in recorder.inner_text("#problem")
    recorder.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => {"
        " throw new DOMException('', name); }; }",
        name,
    )
    recorder.fill("#record-glosses", "hello")
    recorder.click("#record-start")
    until(recorder, f"document.getElementById('problem').textContent.includes({said!r})")

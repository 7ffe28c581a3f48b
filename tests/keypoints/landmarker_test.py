import functools
import http.server
import os
import threading
import zipfile

import cv2
import mediapipe as mp
import numpy as np
import pytest

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import landmarker, native_libs

HANDS = ("four_left", "four_right", "rock_left", "rock_right_0", "rock_right_1", "rock_right_2")


def picture(name):
    return cv2.cvtColor(cv2.imread(str(videos.shared(f"hands/{name}.jpg"))), cv2.COLOR_BGR2RGB)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wsign_jax"


# ------------------------------------------------------------------------------------------- the model


def test_the_published_networks_are_accepted_in_any_bundle(tmp_path):
    given = videos.model()
    assert landmarker.find_model(given) == given
    again = tmp_path / "again.task"
    with zipfile.ZipFile(given) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert landmarker.find_model(again) == again


def test_another_or_a_damaged_model_is_refused(tmp_path):
    content = videos.model().read_bytes()
    path = tmp_path / "m.task"
    for wrong in (
        b"",
        b"<html>",
        content[: len(content) // 2],
        content[:5000] + b"?" + content[5001:],
    ):
        path.write_bytes(wrong)
        with pytest.raises(WSignError, match=r"m.task: is not hand_landmarker float16 version 1"):
            landmarker.find_model(path)
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("hand_detector.tflite", "another")
    # It may be any file of the user's: the advice is not to delete it.
    with pytest.raises(WSignError, match=r"m.task: is not .*; name a copy of https://.* --model="):
        landmarker.find_model(path)


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(WSignError, match=r"/gone.task: the model cannot be read \(No such file"):
        landmarker.find_model(landmarker.pathlib.Path("/gone.task"))


def test_without_a_home_one_line_says_what_to_give(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(landmarker.pathlib.Path, "home", nowhere)
    with pytest.raises(WSignError, match=r"no home folder .*--model=FILE, or .*XDG_CACHE_HOME=DIR"):
        landmarker.find_model()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web site on this machine, whose model is what is published."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(landmarker, "MODEL_URL", f"http://127.0.0.1:{server.server_port}/m.task")
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_model_is_downloaded_once(site, cache, capsys):
    (site / "m.task").write_bytes(videos.model().read_bytes())
    path = landmarker.find_model()
    assert path == cache / "hand_landmarker.task"
    assert "downloading http://127.0.0.1" in capsys.readouterr().out
    (site / "m.task").unlink()
    assert landmarker.find_model() == path and os.listdir(cache) == [path.name]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, site, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        WSignError, match=r"hand_landmarker.task: the model cannot be kept there .*--model=FILE"
    ):
        landmarker.find_model()


def test_a_download_of_something_else_leaves_nothing(site, cache):
    (site / "m.task").write_bytes(b"please log in")
    with pytest.raises(WSignError, match="is not hand_landmarker float16 version 1"):
        landmarker.find_model()
    assert os.listdir(cache) == []


def test_without_a_network_one_line_says_what_to_put_where(cache, monkeypatch):
    monkeypatch.setattr(landmarker, "MODEL_URL", "http://127.0.0.1:9/m.task")  # nothing listens
    with pytest.raises(WSignError) as caught:
        landmarker.find_model()
    text = str(caught.value)
    assert text.startswith(f"{cache}/hand_landmarker.task: the model is not here")
    assert "put http://127.0.0.1:9/m.task there" in text and "--model" in text and "\n" not in text
    assert os.listdir(cache) == []


# -------------------------------------------------------------------------------------- the landmarker


@pytest.mark.parametrize("name", HANDS)
def test_pictures_agree_with_a_bare_landmarker(name):
    image = picture(name)
    options = mp.tasks.vision.HandLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(videos.model())),
        running_mode=mp.tasks.vision.RunningMode.VIDEO,
        num_hands=2,
    )
    with native_libs.hide_native_log():
        with mp.tasks.vision.HandLandmarker.create_from_options(options) as native:
            bare = native.detect_for_video(mp.Image(mp.ImageFormat.SRGB, image), 0)
        with landmarker.Landmarker(videos.model()) as hands:
            (found,) = hands.detect(image, 0.0)
    assert found.hand == (landmarker.LEFT_HAND if "left" in name else landmarker.RIGHT_HAND)
    assert found.score == bare.handedness[0][0].score
    aspect = image.shape[0] / image.shape[1]
    expected = [(p.x, p.y * aspect, p.z) for p in bare.hand_landmarks[0]]
    np.testing.assert_allclose(found.landmarks, expected, rtol=1e-12)


def test_no_hand_and_times_within_a_millisecond_are_no_error():
    with native_libs.hide_native_log(), landmarker.Landmarker(videos.model()) as hands:
        assert hands.detect(picture("point_missed"), 0.0) == []
        assert len(hands.detect(picture("four_left"), 0.0001)) == 1
        assert len(hands.detect(picture("four_left"), 0.0002)) == 1

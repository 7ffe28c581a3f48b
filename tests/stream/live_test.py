import json
import math
import os
import signal
import time

import numpy as np
import pytest

from tests.helpers.small import small_config
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.evaluate import trained_run
from wsign_jax.keypoints import joints, video
from wsign_jax.keypoints.camera import EveryItem, NewestItem
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.keypoints.video import Picture
from wsign_jax.stream import live
from wsign_jax.stream.run_stream import stream_run

SHAPES = np.random.default_rng(0).normal(0, 0.03, size=(8, 21, 3))
HANDS, EMPTY = (np.full((48, 64, 3), level, np.uint8) for level in (200, 0))


@pytest.fixture(scope="module")
def model():
    """Weights that find glosses in whatever moves."""
    config = small_config()
    config.stages = ("stage3",)
    config.stage3.chunks, config.stage3.left_contexts = (0, 4), (8,)
    run = trained_run.make_untrained(config, 7)
    run.params["ctc_head"]["kernel"] *= 5.0
    return run


class FakeLandmarker:
    """Finds two moving hands in every bright picture, in no time or in `seconds`."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def __call__(self, path):
        del path
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def detect(self, image, time_s):
        time.sleep(self.seconds if time_s else 0.0)
        return detections(time_s) if image.any() else []


def detections(time_s):
    """Hands that change their shape and move."""
    shape = SHAPES[int(6 * time_s) % len(SHAPES)]
    return [
        Detection(shape + np.array([x + 0.05 * math.sin(5 * time_s), 0.5, 0.0]), hand, 0.95)
        for hand, x in ((LEFT_HAND, 0.7), (RIGHT_HAND, 0.3))
    ]


def changing_features(frames):
    """(T, 42, 7) of the same."""
    seen = [detections(frame / 60) for frame in range(frames)]
    positions = np.array([np.concatenate([hand.landmarks for hand in hands]) for hands in seen])
    return joints.features_from_positions(positions, np.full((frames, 2), 0.95))


@pytest.fixture
def landmarker(monkeypatch):
    fake = FakeLandmarker()
    monkeypatch.setattr(live.landmarker, "find_model", lambda path: path)
    monkeypatch.setattr(live, "Landmarker", fake)
    return fake


def pictures(times, image=HANDS, then=None):
    for number, time_s in enumerate(times):
        yield Picture(float(time_s), image(number) if callable(image) else image)
    if then is not None:
        raise then


def source(*arguments, **options):
    return live.LiveSource("test", EveryItem(pictures(*arguments, **options)), True, False)


def recognize(model, given, capsys, **options):
    """Why a source ended, its stable glosses, and the last event."""
    end = live.recognize_live(
        stream_run(model, chunk=4, left_context=8), given, json=True, **options
    )
    return end, *told(capsys)


def told(capsys):
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(e["label"], e["start"]) for e in events if e["event"] == "stable"], events[-1]


def pushed(model, times):
    """The same of a bare stream."""
    stream = stream_run(model, chunk=4, left_context=8)
    results = [stream.push(detections(float(at)), time_s=float(at)) for at in times]
    glosses = [gloss for result in (*results, stream.finish()) for gloss in result.stable]
    return [(gloss.label, round(gloss.start, 4)) for gloss in glosses]


TIMES = np.arange(60) / 30


def test_pictures_give_what_a_stream_gives(model, landmarker, capsys):
    end, glosses, last = recognize(model, source(TIMES), capsys)
    assert end is live.SessionEnd.FILE and glosses == pushed(model, TIMES) and len(glosses) > 3
    assert (last["event"], last["count"], last["dropped"]) == ("end", 60, 0)
    assert last["seconds"] == pytest.approx(59 / 30, abs=1e-3)
    parts = ["capture", "landmarks", "tracker", "chunk", "model", "decoding"]
    assert list(last["delays"]) == parts
    assert last["delays"]["tracker"] == [150.0, 150.0]  # 9 frames
    assert last["delays"]["chunk"] == [141.6667, 254.1667]  # of 1 to 16 frames


def test_keypoints_in_a_file_at_any_pace(model, tmp_path, capsys):
    features = changing_features(90)
    bare = stream_run(model, chunk=4, left_context=8)
    glosses = [*bare.push(features).stable, *bare.finish().stable]
    expected = [(gloss.label, round(gloss.start, 4)) for gloss in glosses]
    np.save(tmp_path / "a.npy", features)
    for simulate in (False, True):
        given = live.open_source(str(tmp_path / "a.npy"), simulate)
        end, glosses, last = recognize(model, given, capsys)
        assert end is live.SessionEnd.FILE and glosses == expected and len(glosses) > 3
        assert (last["kind"], last["count"], last["nan"]) == ("keypoint frames", 90, 0)
        assert list(last["delays"]) == ["chunk", "model", "decoding"]
    assert last["took"] >= 1.4  # from the first 4 of 90 frames to the last


def test_keypoints_whose_y_is_divided_by_the_height(tmp_path):
    features = changing_features(4)
    (tmp_path / "train" / "features").mkdir(parents=True)
    files.write_json(tmp_path / "dataset.json", {"aspect": 1.5})
    inside, alone = tmp_path / "train" / "features" / "a.npy", tmp_path / "a.npy"
    for path in (inside, alone):
        np.save(path, features)
    for path, aspect, y in ((inside, 0.0, 1.5), (inside, 2.0, 2.0), (alone, 0.0, 1.0)):
        frames = live.open_source(str(path), aspect=aspect).items.take(0.0).item.features
        np.testing.assert_allclose(frames[..., [1, 4]] * y, features[..., [1, 4]], rtol=1e-6)
        np.testing.assert_array_equal(frames[..., [0, 2, 6]], features[..., [0, 2, 6]])


def test_nan_in_a_file_is_an_absent_hand_and_counted(model, tmp_path, capsys):
    features = changing_features(90)
    features[30:35, 21:, 0] = np.nan
    np.save(tmp_path / "a.npy", features)
    _, glosses, last = recognize(model, live.open_source(str(tmp_path / "a.npy")), capsys)
    features[30:35, 21:] = 0.0
    np.save(tmp_path / "b.npy", features)
    _, clean, none = recognize(model, live.open_source(str(tmp_path / "b.npy")), capsys)
    assert glosses == clean and (last["nan"], none["nan"]) == (5, 0)


def test_a_camera_that_disappears_finishes_the_sentence(model, landmarker, monkeypatch, capsys):
    monkeypatch.setattr(live.camera, "camera_pictures", lambda number: pictures(TIMES))
    given = live.open_source("7")
    assert isinstance(given.items, NewestItem)
    # Nothing is dropped here, so that what is recognized is known.
    given = given._replace(items=EveryItem(live.camera.camera_pictures(7)))
    end, glosses, last = recognize(model, given, capsys)
    assert end is live.SessionEnd.GONE and glosses == pushed(model, TIMES)
    assert last["why"] == "7: no more pictures come from the camera"


def test_a_pause_of_a_video_is_not_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "read_pictures", lambda path, fps: pictures([0.0, 0.4]))
    monkeypatch.setattr(live.camera.NewestItem.__init__, "__defaults__", (0.1,))
    (tmp_path / "a.mp4").touch()
    with live.open_source(str(tmp_path / "a.mp4"), simulate=True).items as items:
        times = []
        while not items.ended:
            if taken := items.take(0.05):
                times.append(taken.item.time_s)
    assert times == [0.0, 0.4]


def test_what_a_slow_machine_drops_is_counted(model, landmarker, monkeypatch, capsys):
    landmarker.seconds = 0.02
    times = TIMES[:40] / 10  # a camera of 300 pictures a second
    monkeypatch.setattr(
        live.camera, "camera_pictures", lambda number: live.camera.at_recorded_pace(pictures(times))
    )
    end, _, last = recognize(model, live.open_source("0"), capsys)
    assert end is live.SessionEnd.GONE and last["dropped"] > 10
    assert last["count"] + last["dropped"] == 40


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_user_stops_it_with_a_signal(model, landmarker, capsys, kind):
    def interrupt(number):
        if number == 30:
            os.kill(os.getpid(), kind)
        return HANDS

    before = signal.getsignal(kind)
    end, glosses, last = recognize(model, source(TIMES, interrupt), capsys)
    assert end is live.SessionEnd.USER and last["why"] == "test: stopped by the user"
    assert last["count"] == 31 and glosses == pushed(model, TIMES[:31])
    assert signal.getsignal(kind) is before


def test_a_source_that_breaks_finishes_the_sentence_first(model, landmarker, capsys):
    broken = source(TIMES, then=WSignError("v.mp4: is cut off"))
    with pytest.raises(WSignError, match="cut off"):
        recognize(model, broken, capsys)
    glosses, last = told(capsys)
    assert glosses == pushed(model, TIMES) and last["why"] == "v.mp4: is cut off"


def test_a_source_that_was_never_good_has_no_summary(model, landmarker, capsys):
    with pytest.raises(WSignError, match="is empty"):
        recognize(model, source([], then=WSignError("v.mp4: is empty")), capsys)
    assert '"end"' not in capsys.readouterr().out


def test_pictures_whose_time_does_not_increase_are_left_out_and_counted(model, landmarker, capsys):
    times = TIMES.tolist()
    disordered = [*times[:20], times[19], times[5], float("nan"), *times[20:]]
    _, glosses, last = recognize(model, source(disordered), capsys)
    assert glosses == pushed(model, TIMES) and last["out_of_order"] == 3 and last["count"] == 60


@pytest.mark.parametrize("fps", [5, 24])
def test_every_rate_runs_and_one_too_low_is_warned_of(model, landmarker, capsys, fps):
    times = np.arange(4 * fps) / fps
    live.recognize_live(stream_run(model, chunk=4, left_context=8), source(times))
    printed = capsys.readouterr()
    assert f"{4 * fps} pictures of {times[-1]:.2f} s" in printed.out
    assert printed.err.count("warning: pictures come 0.20 s apart") == (fps == 5)


def test_no_hands_and_a_pause_of_minutes_invent_nothing(model, landmarker, capsys):
    assert recognize(model, source(TIMES, EMPTY), capsys)[1] == []
    paused = np.concatenate([TIMES[:40], 200 + TIMES[:40]])
    _, glosses, last = recognize(model, source(paused), capsys)
    starts = np.array([start for _, start in glosses])
    # A second after the hands are gone nothing is recognized any more.
    assert len(starts) and not ((starts > 4.0) & (starts < 199.0)).any()
    assert last["count"] == 80


def test_nothing_comes_at_all(model, landmarker, capsys):
    end, glosses, last = recognize(model, source([]), capsys)
    assert (
        end is live.SessionEnd.FILE
        and glosses == []
        and last["count"] == 0
        and last["delays"] == {}
    )


def test_the_window_shows_hands_and_glosses_and_closing_it_stops(
    model, landmarker, monkeypatch, tmp_path, capsys
):
    shown = []

    class FakeWindow:
        def __init__(self, title):
            self.closed = False

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            shown.append("closed")

        def show(self, image, hands, lines):
            shown.append((image, hands, lines))
            self.closed = len(shown) == 20

    monkeypatch.setattr(live, "PreviewWindow", FakeWindow)
    end, glosses, last = recognize(model, source(TIMES), capsys, show=True)
    assert end is live.SessionEnd.USER and last["count"] == 20 and shown.pop() == "closed"
    image, hands, _ = shown[10]
    assert image is HANDS
    np.testing.assert_allclose(hands[:21, :3], detections(TIMES[10])[0].landmarks, rtol=1e-6)
    assert any(glosses[0][0] in line for _, _, lines in shown for line in lines)

    features = changing_features(8)
    features[7, 3] = np.nan
    np.save(tmp_path / "a.npy", features)
    shown.clear()
    recognize(model, live.open_source(str(tmp_path / "a.npy")), capsys, show=True)
    image, hands, _ = shown[1]
    assert not image.any() and np.isfinite(hands).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.mp4", "gone.mp4: no such file; give a camera's number, a video or a .npy"),
        ("gone.npy", "gone.npy: no such file"),
        ("other.npy", r"float64 of shape \(4, 2\) is not \(T, 42, 7\) floats"),
    ],
)
def test_a_bad_source_is_named(tmp_path, name, message):
    np.save(tmp_path / "other.npy", np.zeros((4, 2)))
    with pytest.raises(WSignError, match=message):
        live.open_source(str(tmp_path / name))
    with pytest.raises(WSignError, match="--simulate: camera 0 has a pace of its own"):
        live.open_source("0", simulate=True)

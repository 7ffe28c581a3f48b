"""The real MediaPipe on the real videos."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import wsign_jax
from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import draw, extract, joints, native_libs, quality, video
from wsign_jax.keypoints.extract import Clip, ExtractionSettings

ROOT = pathlib.Path(wsign_jax.__file__).parents[1]
LEFT, RIGHT = range(2)


def keypoints(path, **clip):
    with native_libs.hide_native_log():
        return extract.extract_clip(
            Clip("clip", path, **clip), ExtractionSettings(), videos.model()
        )


@pytest.fixture(scope="module")
def soup():
    """Features and report of the signer with two hands."""
    return keypoints(videos.shared("videos/soup.mp4"))


@pytest.fixture(scope="module")
def selfie():
    """Features and report of the one right hand."""
    return keypoints(videos.shared("videos/selfie.mp4"))


@pytest.fixture
def folder(tmp_path):
    """A folder with a short video: the first 12 pictures of the signer."""
    pictures, times = videos.pictures_of(videos.shared("videos/soup.mp4"))
    path = tmp_path / "videos ü" / "a.mp4"
    path.parent.mkdir()
    videos.write(path, pictures[5:17], np.array(times[5:17]) - times[5])
    return path.parent


def settings():
    return ExtractionSettings(model=videos.model())


def wrists(features, hand):
    """(T, 2) of a hand's wrist, NaN where it is absent."""
    places = features[:, joints.WRISTS[hand], :2].astype(float)
    places[~joints.seen_hands(features)[:, hand]] = np.nan
    return places


# ------------------------------------------------------------------------------------- what is extracted


def test_two_hands_never_swap_and_are_nearly_always_there(soup):
    features, report = soup
    assert features.shape == (81, 42, 7) and features.dtype == np.float32
    assert (joints.seen_hands(features).mean(0) >= 0.85).all()
    for hand, low, high in ((LEFT, 0.5, 0.62), (RIGHT, 0.28, 0.42)):
        across = wrists(features, hand)[:, 0]
        assert low < np.nanmin(across) and np.nanmax(across) < high
        assert np.nanmax(np.linalg.norm(np.diff(wrists(features, hand), axis=0), axis=1)) < 0.03
    # Processors differ by a detection: so do the figures of MediaPipe's model.
    assert report.label_flips in (4, 5, 6) and report.fps == pytest.approx(29.97, abs=0.01)


def test_no_left_hand_is_invented_and_gaps_stay_gaps(selfie):
    features, report = selfie
    seen = joints.seen_hands(features)
    assert not seen[:, LEFT].any() and not features[:, joints.LEFT].any()
    # MediaPipe finds the hand from 0.568 to 1.471 s, and never misses it for over 0.15 s in between.
    # (On some processors a picture more or less.)
    times = np.arange(len(features)) / 60
    assert seen[(times > 0.61) & (times < 1.43), RIGHT].all()
    assert not seen[(times < 0.52) | (times > 1.51), RIGHT].any()
    assert report.label_flips in (2, 3, 4)
    assert re.search(r"no hand in 5\d% of it", report.warnings)
    assert not features[~seen[:, RIGHT], joints.RIGHT].any()


@pytest.mark.parametrize("name", ["soup", "selfie"])
def test_a_mirrored_video_swaps_left_and_right(request, tmp_path, name):
    features, _ = request.getfixturevalue(name)
    pictures, times = videos.pictures_of(videos.shared(f"videos/{name}.mp4"))
    path = tmp_path / "mirrored.mp4"
    videos.write(path, [picture[:, ::-1] for picture in pictures], times, options={"crf": "10"})
    mirrored, _ = keypoints(path)
    for hand in (LEFT, RIGHT):
        own, other = wrists(features, hand), wrists(mirrored, 1 - hand)
        both = ~np.isnan(own[:, 0]) & ~np.isnan(other[:, 0])
        assert both.any() == joints.seen_hands(features)[:, hand].any()
        if both.any():
            assert np.median(np.abs(own[both, 0] - (1 - other[both, 0]))) < 0.02
    swapped = joints.seen_hands(mirrored)[:, ::-1]
    assert (swapped == joints.seen_hands(features)).mean() > 0.9


def test_any_form_of_a_video_gives_the_same_keypoints(tmp_path, soup):
    pictures, times = videos.pictures_of(videos.shared("videos/soup.mp4"))
    videos.write(tmp_path / "constant.mp4", pictures, options={"crf": "10"})
    # Every fifth picture is missing, and the others keep their times.
    kept = [n for n in range(len(pictures)) if n % 5 != 3]
    videos.write(
        tmp_path / "variable.mp4",
        [pictures[n] for n in kept],
        [times[n] for n in kept],
        options={"crf": "10"},
    )
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    forms = {
        "constant": keypoints(tmp_path / "constant.mp4"),
        "variable": keypoints(tmp_path / "variable.mp4"),
        "pictures": keypoints(tmp_path, fps=29.97),
    }
    features, _ = soup
    # The same pictures, from files without loss: the same numbers.
    np.testing.assert_allclose(forms["pictures"][0], features, atol=1e-3)
    for form, (other, _) in forms.items():
        length = min(len(features), len(other))
        assert abs(len(features) - len(other)) <= 1, form
        for hand in (LEFT, RIGHT):
            own, others = wrists(features, hand)[:length], wrists(other, hand)[:length]
            apart = np.linalg.norm(own - others, axis=1)
            assert np.isnan(apart).mean() < 0.1, form
            # The tracker's own noise: the resting hand's wrist strays by 0.009 about its mean.
            assert np.nanmedian(apart) < 0.01, form


@pytest.mark.parametrize("name", ["four_left", "rock_right_0"])
def test_a_picture_is_a_video_of_one_frame(tmp_path, name):
    (tmp_path / "1.jpg").write_bytes(videos.shared(f"hands/{name}.jpg").read_bytes())
    features, _ = keypoints(tmp_path, fps=25.0)
    # The name says which hand a bare HandLandmarker reports.
    np.testing.assert_array_equal(joints.seen_hands(features), [["left" in name, "right" in name]])


def test_a_picture_in_which_no_hand_is_found_fails(tmp_path):
    (tmp_path / "1.jpg").write_bytes(videos.shared("hands/point_missed.jpg").read_bytes())
    with pytest.raises(WSignError, match="no hand in any of its 1 pictures; leave it out"):
        keypoints(tmp_path, fps=25.0)


def test_a_part_and_a_box_of_a_video(soup):
    features, _ = soup
    part, _ = keypoints(
        videos.shared("videos/soup.mp4"), start_s=0.6, end_s=1.2, box=(0.0, 0.1, 1.0, 0.9)
    )
    assert len(part) == 35  # 18 pictures at 29.97 fps
    # The box is the picture now: its left side is 0, its width is 1.
    place = 0.1 + 0.8 * wrists(part, RIGHT)[:, 0]
    assert np.nanmedian(np.abs(place - wrists(features, RIGHT)[36:71, 0])) < 0.015


# ------------------------------------------------------------------------------------------ many clips


def test_bad_videos_are_reported_and_never_stop_the_rest(folder, tmp_path, capsys):
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video")
    videos.write_sound(folder / "sound.mp4")
    (folder / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:-2000])
    os.rename(folder / "a.mp4", folder / "10:30.mp4")
    for name in ("caf\udce9.mp4", "z.mp4"):
        (folder / name).write_bytes((folder / "10:30.mp4").read_bytes())
    (folder / "caf\udce9").mkdir()
    (folder / "caf\udce9" / "mute.mp4").write_bytes(b"")
    videos.write(folder / "nobody.mp4", videos.numbered(5))
    for name in ("twice.mp4", "twice.mov"):
        (folder / name).write_bytes((folder / "10:30.mp4").read_bytes())
    out = tmp_path / "train" / "features"
    out.mkdir(parents=True)
    (out / "taken.npy").write_text("no keypoints")
    (folder / "taken.mp4").write_bytes((folder / "10:30.mp4").read_bytes())
    for _ in range(2):  # the same command again goes on
        reports = extract.extract_from_dataset(folder, out, model=videos.model())
    assert [report.id for report in reports if report.done] == ["10:30", "z"]
    (taken,) = (report for report in reports if report.id == "taken")
    assert taken.problem == (
        f"{out}/taken.npy: does not hold keypoints; delete it, and give the same command again"
    )
    assert (out / "taken.npy").read_text() == "no keypoints"
    reports.remove(taken)
    problems = {report.source: report.problem for report in reports if not report.done}
    for name, what in {
        "empty.mp4": "is empty",
        "text.mp4": "is not a video that can be read",
        "sound.mp4": "has no video, only sound",
        "cut.mp4": "",
        "nobody.mp4": "no hand in any of its 5 pictures",
        r"caf\udce9.mp4": r"id 'caf\udce9' is not UTF-8 text; rename it",
        r"caf\udce9/mute.mp4": r"id 'caf\udce9_mute' is not UTF-8 text; rename it",
        "twice.mp4": f"has the id of {folder / 'twice.mov'}; rename one",
        "twice.mov": f"has the id of {folder / 'twice.mp4'}; rename one",
    }.items():
        assert problems.pop(str(folder / name)).startswith(f"{folder / name}: {what}")
    assert not problems
    assert sorted(os.listdir(out)) == ["10:30.npy", "taken.npy", "z.npy"]
    table = quality.read_quality(out.parent / "quality.csv")
    assert table == sorted([*reports, taken], key=lambda report: (report.id, report.source))
    assert sorted(os.listdir(out.parent)) == [
        ".quality.csv.lock",
        "dataset.json",
        "features",
        "quality.csv",
    ]
    written = np.load(out / "10:30.npy")
    np.testing.assert_array_equal(written, keypoints(folder / "10:30.mp4")[0])
    output = capsys.readouterr()
    assert "failed: empty: " in output.out and "keypoints 12/12 clips" in output.out
    assert output.err == ""


def test_what_is_missing_of_a_clip_is_in_its_row_and_said_once(tmp_path, capsys):
    path = tmp_path / "cut" / "selfie.mp4"
    path.parent.mkdir()
    path.write_bytes(videos.shared("videos/selfie.mp4").read_bytes()[:-50_000])
    clip, out = Clip("selfie", path), tmp_path / "train" / "features"
    features, report = extract.extract_clip(clip, settings(), videos.model())
    assert report.warnings.startswith("16 of its 58 pictures are missing; ")
    warning = f"warning: {path}: 16 of its 58 pictures are missing\n"
    assert warning in capsys.readouterr().err
    assert extract.extract_clips([clip], out, settings()) == [report]
    assert "missing" not in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(out / "selfie.npy"), features)


def test_what_is_done_is_not_done_again(folder, tmp_path):
    out = tmp_path / "train" / "features"
    (first,) = extract.extract_from_dataset(folder, out, model=videos.model())
    stamp = (out / "a.npy").stat().st_mtime_ns
    videos.write(folder / "b.mp4", videos.pictures_of(folder / "a.mp4")[0])
    second = extract.extract_from_dataset(folder, out, model=videos.model())
    assert second[0] == first and [report.id for report in second] == ["a", "b"]
    assert (out / "a.npy").stat().st_mtime_ns == stamp
    with pytest.raises(WSignError, match=r"features: has 2 of these 2 clips; .*--resume"):
        extract.extract_from_dataset(folder, out, model=videos.model(), resume=False)


def test_other_settings_are_noticed(folder, tmp_path, capsys):
    out = tmp_path / "train" / "features"
    dataset = out.parent / "dataset.json"
    dataset.parent.mkdir()
    dataset.write_text('{"aspect": 1.0}')
    extract.extract_from_dataset(folder, out, model=videos.model())
    content = json.loads(dataset.read_text())
    assert content["aspect"] == 1.0 and content["extraction"]["fps"] == 60
    for options, what in (
        ({"target_fps": 30.0}, r"begun with fps 60, not 30\.0; keep to that"),
        ({"smooth": True}, r"begun with smooth False, not True; keep to that"),
    ):
        with pytest.raises(WSignError, match=f"dataset.json: {what}"):
            extract.extract_from_dataset(folder, out, model=videos.model(), **options)
    with pytest.raises(WSignError, match=r"describes the output folder 'features' beside it"):
        extract.extract_from_dataset(folder, out.parent / "other", model=videos.model())
    content["extraction"]["versions"]["mediapipe"] = "0.9"
    dataset.write_text(json.dumps(content))
    extract.extract_from_dataset(folder, out, model=videos.model())
    assert "warning: begun with mediapipe 0.9, goes on with " in capsys.readouterr().out
    for wrong, what in (
        ("{", "not valid JSON"),
        ("[" * 100_000, ""),
        ("[]", "must be an object"),
        ('{"extraction": 1}', ""),
    ):
        dataset.write_text(wrong)
        with pytest.raises(WSignError, match=f"dataset.json: {what}"):
            extract.extract_from_dataset(folder, out, model=videos.model())
    dataset.unlink()
    with pytest.raises(WSignError, match=r"has keypoints of which .*dataset.json says nothing"):
        extract.extract_from_dataset(folder, out, model=videos.model())


def test_shards_share_the_work(folder, tmp_path):
    out = tmp_path / "train" / "features"
    for name in ("b.mp4", "c.mp4"):
        (folder / name).write_bytes((folder / "a.mp4").read_bytes())
    parts = [
        extract.extract_from_dataset(folder, out, model=videos.model(), shard=(part, 2), workers=1)
        for part in (1, 2)
    ]
    assert [[report.id for report in part] for part in parts] == [["a", "c"], ["b"]]
    assert sorted(os.listdir(out)) == ["a.npy", "b.npy", "c.npy"]
    # Without shards it goes on from what they did, and knows their figures.
    whole = extract.extract_from_dataset(folder, out, model=videos.model())
    assert whole == [parts[0][0], parts[1][0], parts[0][1]]


def test_mistakes_are_named(folder, tmp_path):
    out = tmp_path / "out" / "features"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("")
    with pytest.raises(
        WSignError, match=r"empty: no videos in it \(\.3gp .*, and no folders of pic"
    ):
        extract.extract_from_dataset(empty, out)
    with pytest.raises(WSignError, match=r"gone: is not a folder"):
        extract.extract_from_dataset(tmp_path / "gone", out)
    for options, what in (
        ({"target_fps": 0.0}, "fps 0 must be from 1 to 1000"),
        ({"min_confidence": 2.0}, "min_confidence 2 must be from 0 to 1"),
        ({"workers": -1}, "workers -1 must be 0 or more"),
        ({"shard": (3, 2)}, r"shard \(3, 2\) be \(i, n\)"),
    ):
        with pytest.raises(WSignError, match=what):
            extract.extract_from_dataset(folder, out, **options)
    assert not out.parent.exists()


def test_an_id_must_be_a_files_name(folder, tmp_path):
    out = tmp_path / "out" / "features"
    clips = [Clip(id, folder / "a.mp4") for id in ("../a", "", ".a")]
    reports = extract.extract_clips(clips, out, settings())
    assert [report.problem.partition("; ")[0] for report in reports] == [
        f"{folder}/a.mp4: id '../a' would leave its folder or be hidden",
        f"{folder}/a.mp4: id '' is empty",
        f"{folder}/a.mp4: id '.a' would leave its folder or be hidden",
    ]
    assert os.listdir(out) == []


def test_killed_half_way_it_goes_on_with_whole_files(folder, tmp_path):
    out = tmp_path / "train" / "features"
    pictures = [picture.image for picture in video.read_pictures(folder / "a.mp4")]
    for number in range(7):
        path = folder / f"{number}.mp4"
        draw.write_video(path, (video.Picture(n / 30, p) for n, p in enumerate(pictures * 2)))
    command = [sys.executable, "tools/extract_keypoints.py", f"--videos={folder}", f"--out={out}"]
    command.append(f"--model={videos.model()}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as running:
        while len(list(out.glob("*.npy"))) < 2:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert 2 <= len(done) < 8
    for path in done:
        assert np.load(path).shape[1:] == (42, 7)
    again = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "8 of 8 clips have keypoints" in again.stdout and again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert sorted(os.listdir(out)) == [*(f"{n}.npy" for n in range(7)), "a.npy"]
    reports = quality.read_quality(out.parent / "quality.csv")
    assert [report.id for report in reports] == [*map(str, range(7)), "a"]
    assert all(report.done and report.fps > 0 for report in reports)

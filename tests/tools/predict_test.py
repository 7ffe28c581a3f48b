"""tools/predict.py and tools/export.py as a person runs them."""

import contextlib
import io
import json
import os
import shutil

import numpy as np
import pytest

from tests.helpers import videos
from tests.helpers.changed import changed_metadata, rewritten
from wsign_jax import Recognizer
from wsign_jax.decode import transcript
from wsign_jax.decode.transcript import Transcript
from wsign_jax.keypoints import joints, pose_file
from wsign_jax.recognize import transcribe_files

SRT = ("--checkpoint={run}", "--format=srt")


@pytest.fixture
def inputs(trained_run, tmp_path):
    """A folder with two good .npy, one in a sub-folder, and a bad one."""
    features = sorted((trained_run[0] / "test" / "features").glob("*.npy"))
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(features[0], folder / "a.npy")
    shutil.copy(features[1], folder / "sub" / "b.npy")
    np.save(folder / "bad.npy", np.zeros((9, 42, 6), np.float32))
    return folder


def split_output(printed):
    lines = printed.splitlines()
    return [x for x in lines if not x.startswith("failed")], [
        x for x in lines if x.startswith("failed")
    ]


def test_a_bad_file_stops_nothing(talkative_run, inputs, command):
    status, printed = command("predict.py", f"--checkpoint={talkative_run}", inputs)
    good, failed = split_output(printed)
    assert status == 1
    assert failed == [f"failed: {inputs / 'bad.npy'}: shape (9, 42, 6) is not (T, 42, 7)"]
    paths = [inputs / "a.npy", inputs / "sub" / "b.npy"]
    expected = Recognizer.load(talkative_run).transcribe(paths)
    assert [x.text for x in expected] == [line.split("\t")[1] for line in good] and any(good)
    assert [line.split("\t")[0] for line in good] == [str(path) for path in paths]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_one_file_for_all_and_never_over_another(talkative_run, inputs, command, tmp_path, kind):
    out = tmp_path / "new" / "out"
    flags = ("predict.py", f"--checkpoint={talkative_run}", f"--format={kind}", f"--out={out}")
    status, printed = command(*flags, inputs / "a.npy", inputs / "sub")
    assert status == 0 and not printed
    text = out.read_text()
    if kind == "jsonl":
        files = [json.loads(line)["file"] for line in text.splitlines()]
        assert files == [str(inputs / "a.npy"), str(inputs / "sub" / "b.npy")]
    else:
        assert text.startswith(transcript.file_head("csv")) and "b.npy" in text
    status, printed = command(*flags, inputs / "a.npy")
    assert status == 2 and "is there already" in printed and out.read_text() == text
    status, printed = command(*flags, inputs / "a.npy", "--replace")
    assert status == 0 and "b.npy" not in out.read_text()
    replaced = out.read_text()
    status, printed = command(*flags, inputs / "bad.npy", "--replace")
    assert status == 2 and printed.startswith("failed: ") and out.read_text() == replaced
    assert list(out.parent.iterdir()) == [out]


def test_subtitles_of_a_real_video_with_a_broken_one_beside_it(talkative_run, command, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(videos.shared("videos/soup.mp4"), folder / "sub")
    (folder / "broken.mp4").write_bytes(b"no video")
    flags = (f"--checkpoint={talkative_run}", f"--model={videos.model()}")
    status, printed = command("predict.py", *flags, "--format=srt", f"--out={out}", folder)
    assert status == 1
    assert f"failed: {folder / 'broken.mp4'}: is not a video that can be read" in printed
    [path] = [path for path in out.rglob("*") if path.is_file()]
    assert path == out / "sub" / "soup.srt" and "00:00:" in path.read_text()
    status, printed = command("predict.py", *flags, "--format=vtt", folder)
    assert status == 2 and "vtt is one file a recording, and these are 2" in printed


def test_eaf_and_pose_files_for_other_programs(talkative_run, inputs, command, tmp_path):
    elan = pytest.importorskip("pympi.Elan")
    pytest.importorskip("pose_format")
    flags = ("predict.py", f"--checkpoint={talkative_run}", f"--out={tmp_path / 'out'}")
    for kind in ("eaf", "pose"):
        status, _ = command(*flags, f"--format={kind}", inputs)
        assert status == 1  # bad.npy
    expected = Recognizer.load(talkative_run).transcribe([inputs / "sub" / "b.npy"])[0]
    tier = elan.Eaf(str(tmp_path / "out" / "sub" / "b.eaf")).get_annotation_data_for_tier("glosses")
    assert expected.glosses and [label for *_, label in tier] == expected.text.split()
    assert tier[0][0] == round(expected.glosses[0].start * 1000)
    positions, present, fps = pose_file.read_pose(tmp_path / "out" / "sub" / "b.pose")
    features = np.load(inputs / "sub" / "b.npy")
    assert fps == 60 and positions.shape == (len(features), 42, 3)
    np.testing.assert_array_equal(present, joints.seen_hands(features))
    status, printed = command(*flags[:2], "--format=pose", inputs / "a.npy")
    assert status == 2 and "pose is not for a terminal; name a folder" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checkpoint={run}", "{inputs}/nothing"], "nothing: no such file or folder"),
        (["--checkpoint={run}", "{inputs}/empty"], "empty: no videos in it"),
        (["--checkpoint={inputs}", "{inputs}/a.npy"], "no checkpoint"),
        (["--checkpoint={inputs}/a.npy", "{inputs}/a.npy"], "not a file that tools/export.py wrote"),
        (["--checkpoint={run}", "--decoder=best", "{inputs}"], "decoder 'best' is not one of"),
        (["--checkpoint={run}", "--chunk=-1", "{inputs}"], "chunk is -1"),
        (["--checkpoint={run}", "--unknown=drop", "{inputs}"], "no threshold for unknown signs; run"),
        (["--checkpoint={run}", "--out={inputs}", "{inputs}"], "is a folder; name a file"),
        ([*SRT, "--out={inputs}/a.npy", "{inputs}"], "is a file; name"),
        (["--checkpoint={run}", "--workers=-1", "{inputs}"], "--workers is -1; give 0, one a core"),
        (["--checkpoint={run}", "--out={inputs}/a.npy", "--replace", "{inputs}"], "a.npy: is read here"),
        ([*SRT, "--out={inputs}", "--replace", "{inputs}/own.srt"], "own.srt: is read here"),
        (["--checkpoint={inputs}/x", "--out={inputs}/x", "--replace", "{inputs}"], "x: is read here"),
        ([*SRT, "--out={inputs}/out", "{inputs}/a.npy", "{inputs}/a.npy"], "would be of two recordings"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_status_2(talkative_run, inputs, command, flags, message):
    (inputs / "empty").mkdir()
    for name in ("own.srt", "x"):
        (inputs / name).touch()
    flags = [flag.format(run=talkative_run, inputs=inputs) for flag in flags]
    status, printed = command("predict.py", *flags)
    assert status == 2 and message in printed and not (inputs / "out").exists()
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in printed


def test_a_newer_checkpoint_and_nothing_but_bad_files_are_status_2(
    talkative_run, inputs, command, tmp_path
):
    newer = changed_metadata(talkative_run, tmp_path, lambda saved: saved.update(format=99))
    for tool, flag in (("predict.py", inputs / "a.npy"), ("export.py", f"--out={tmp_path / 'x'}")):
        status, printed = command(tool, f"--checkpoint={newer}", flag)
        assert status == 2 and "newer version" in printed and "Traceback" not in printed
    np.save(inputs / "one.npy", np.zeros((1, 42, 7), np.float32))
    bad = (inputs / "bad.npy", inputs / "one.npy")
    status, printed = command("predict.py", f"--checkpoint={talkative_run}", *bad)
    assert status == 2 and printed.count("failed: ") == 2 and "has one frame" in printed


def test_more_recordings_than_are_recognized_at_a_time(talkative_run, inputs, monkeypatch):
    monkeypatch.setattr(transcribe_files, "_TOGETHER", 2)
    sources = transcribe_files.find_recordings(
        [inputs, inputs / "a.npy", inputs / "sub", inputs / "a.npy"]
    )
    recognizer = Recognizer.load(talkative_run)
    outcomes = list(
        transcribe_files.transcribe_files(recognizer, sources, transcribe_files.DecodingOptions())
    )
    assert [outcome.source for outcome in outcomes] == sources
    assert [outcome.problem == "" for outcome in outcomes] == [True, False, True, True, True, True]
    a, b = outcomes[0].transcript, outcomes[2].transcript
    assert [outcome.transcript.text for outcome in outcomes[3:]] == [a.text, b.text, a.text]


def test_an_export_is_made_used_and_never_overwritten(talkative_run, inputs, command, tmp_path):
    out = tmp_path / "model.wsign"
    flags = ("export.py", f"--checkpoint={talkative_run}", f"--out={out}", "--license=MIT")
    status, printed = command(*flags)
    assert (
        status == 0 and str(out) in printed and "MIT" in (tmp_path / "model.wsign.md").read_text()
    )
    _, from_run = command("predict.py", f"--checkpoint={talkative_run}", inputs / "a.npy")
    status, from_file = command("predict.py", f"--checkpoint={out}", inputs / "a.npy")
    assert status == 0 and from_file == from_run
    before = out.stat().st_mtime_ns
    status, printed = command(*flags)
    assert status == 2 and "is there already" in printed and out.stat().st_mtime_ns == before
    status, printed = command(*flags, "--replace", "--data=nowhere")
    assert status == 2 and "--data=nowhere: no such folder" in printed
    report = talkative_run / "report_val.json"
    report.write_text('{"wer": 0.5}')
    status, printed = command(*flags, "--replace")
    report.unlink()
    assert status == 2 and f"{report}: is not a report; move it away" in printed
    assert out.stat().st_mtime_ns == before
    edited = rewritten(
        out, tmp_path / "edited", {"label_map.json": lambda content: content.replace(b"G1", b"HI")}
    )
    status, printed = command("predict.py", f"--checkpoint={edited}", inputs / "a.npy")
    assert status == 2 and "label_map.json in it was changed after the export" in printed
    params = next(
        path for path in talkative_run.rglob("*") if "params" in path.parts and path.is_file()
    )
    status, printed = command(*flags[:2], f"--out={params}", "--replace")
    assert status == 2 and "is read here, so it cannot be replaced" in printed
    status, printed = command("export.py", f"--checkpoint={inputs}", f"--out={tmp_path / 'x'}")
    assert status == 2 and "no checkpoint" in printed


@pytest.mark.parametrize("kind", transcribe_files.FORMATS)
def test_a_name_that_is_not_utf_8_stops_nothing(talkative_run, inputs, command, tmp_path, kind):
    if kind == transcribe_files.POSE:
        pytest.importorskip("pose_format")
    shutil.copy(inputs / "a.npy", inputs / os.fsdecode(b"caf\xe9.npy"))
    out = tmp_path / "out"
    flags = (f"--checkpoint={talkative_run}", f"--format={kind}", f"--out={out}")
    status, printed = command("predict.py", *flags, inputs)
    assert status == 1 and printed.count("failed: ") == 1 and "bad.npy" in printed
    if kind in transcribe_files.ONE_EACH:
        names = {os.fsencode(path.name) for path in out.rglob("*") if path.is_file()}
        assert names == {os.fsencode(f"{n}.{kind}") for n in ("a", "b", os.fsdecode(b"caf\xe9"))}
        return
    text = out.read_text(encoding="utf-8")
    assert "caf\\udce9.npy" in text and "b.npy" in text
    if kind == "jsonl":
        names = [json.loads(line)["file"] for line in text.splitlines()]
        assert os.fsencode(names[1]).endswith(b"caf\xe9.npy")


def test_a_full_disk_is_named(inputs, monkeypatch, tmp_path):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    @contextlib.contextmanager
    def full(path, replace):
        yield Full()

    monkeypatch.setattr(transcribe_files.files, "open_text", full)
    outcome = transcribe_files.TranscriptionOutcome(
        transcribe_files.find_recordings([inputs / "a.npy"])[0], Transcript([], 0.0)
    )
    with pytest.raises(OSError, match="No space left on device") as caught:
        transcribe_files.write_transcripts([outcome], "text", tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")

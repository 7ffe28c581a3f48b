"""The recognizer: the answer of evaluation, however it is asked, and one line where it cannot be."""

import contextlib
import dataclasses
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import random_features
from tests.helpers import videos
from tests.helpers.changed import changed_metadata
from tests.helpers.processes import ROOT
from wsign_jax import Recognizer
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.decode import confidence
from wsign_jax.evaluate import decoder_settings, evaluate, trained_run
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Detection
from wsign_jax.recognize.read_recordings import LONGEST


def paths_of(root):
    return sorted((root / "test" / "features").glob("*.npy"))


@pytest.fixture(scope="module")
def data(trained_run):
    return trained_run[0]


@pytest.fixture(scope="module")
def recognizer(talkative_run):
    return Recognizer.load(talkative_run)


def as_ids(recognizer, transcript):
    return [recognizer.vocabulary.ids[gloss.label] for gloss in transcript.glosses]


@pytest.mark.parametrize("decoder", ["greedy", "rescore"])
def test_a_transcript_is_what_evaluation_finds(data, talkative_run, recognizer, decoder):
    run = trained_run.open_run(talkative_run)
    split = trained_run.read_split(run, data, "test")
    sentences, _ = evaluate.evaluate_split(
        run, data, split, decoder_settings.choose_settings(run, decoder)
    )
    transcripts = recognizer.transcribe(paths_of(data), decoder=decoder)
    assert any(transcript.glosses for transcript in transcripts)
    for sentence, transcript in zip(sentences, transcripts, strict=True):
        assert as_ids(recognizer, transcript) == list(sentence.hypothesis)
        spans = [(gloss.start, gloss.end) for gloss in transcript.glosses]
        np.testing.assert_allclose(np.reshape(spans, (-1, 2)), sentence.spans)
        sure = [gloss.confidence for gloss in transcript.glosses]
        np.testing.assert_allclose(sure, sentence.confidences, atol=1e-5)


def test_inputs_of_every_kind_and_mixed_lengths(data, recognizer):
    paths = paths_of(data)
    features = [np.load(path) for path in paths]
    assert len({len(x) for x in features}) > 2
    expected = recognizer.transcribe(paths)
    mixed = [features[0], str(paths[1]), jnp.asarray(features[2]), *paths[3:]]
    for one, other in zip(recognizer.transcribe(mixed), expected, strict=True):
        assert one.text == other.text
    # Always a list; batch and padding change nothing.
    for number, x in enumerate(features):
        [alone] = recognizer.transcribe(x)
        assert alone.text == expected[number].text
        assert alone.score == pytest.approx(expected[number].score, rel=1e-4)
    assert recognizer.transcribe([]) == []
    [alone] = recognizer.transcribe(paths[0])
    assert alone.text == expected[0].text


def test_the_familiar_call(data, recognizer):
    features = [np.load(path) for path in paths_of(data)]
    lengths = np.array([len(x) for x in features])
    padded = np.full((len(features), lengths.max(), 42, 7), np.nan, np.float32)
    for row, x in enumerate(features):
        padded[row, : len(x)] = x
    transcripts = recognizer.transcribe(features)
    expected = [as_ids(recognizer, transcript) for transcript in transcripts]
    assert sum(map(bool, expected)) > 2, "or it shows little"
    assert recognizer.decode(padded, lengths) == expected


def test_the_window_is_that_of_evaluation(data, talkative_run, recognizer):
    windowed = trained_run.open_run(
        talkative_run, overrides={"eval.chunk": 2, "eval.left_context": 3}
    )
    split = trained_run.read_split(windowed, data, "test")
    sentences, _ = evaluate.evaluate_split(
        windowed, data, split, decoder_settings.choose_settings(windowed, "greedy")
    )
    transcripts = recognizer.transcribe(paths_of(data), chunk=2, left_context=3)
    found = [as_ids(recognizer, transcript) for transcript in transcripts]
    assert found == [list(sentence.hypothesis) for sentence in sentences]
    features = np.load(paths_of(data)[0])[None]
    [full], [cut] = (recognizer.logits(features, [features.shape[1]], chunk=c) for c in (0, 2))
    assert np.abs(full - cut).max() > 1e-3


def test_a_stream_is_the_twin_where_there_is_nothing_to_see_too(data, recognizer):
    first, second = (np.load(path) for path in paths_of(data)[:2])
    features = np.concatenate([first, np.zeros((150, 42, 7), np.float32), second])
    stream = recognizer.stream(chunk=4, left_context=8)
    glosses = [*stream.push(features).stable, *stream.finish().stable]
    [offline] = recognizer.transcribe(features, chunk=4, left_context=8)
    assert [gloss.label for gloss in glosses] == [gloss.label for gloss in offline.glosses]
    ends = [gloss.end for gloss in offline.glosses]
    # Nothing after a second without a hand and the rest of its chunk, until the chunk with a hand.
    begin, end = (len(first) + 60 + 16) / 60, (len(first) + 150) // 16 * 16 / 60
    assert any(x <= begin for x in ends) and any(x > end for x in ends)
    assert not any(begin < x <= end for x in ends)
    [nothing] = recognizer.transcribe(np.zeros((90, 42, 7), np.float32))
    assert nothing.glosses == [] and nothing.score == 0.0


def test_a_tuned_calibration_is_used(data, talkative_run, recognizer):
    run = trained_run.open_run(talkative_run)
    row = dataclasses.replace(
        decoder_settings.default_settings(run, "greedy", "none", 1),
        temperature=2.0,
        sign_start=-0.25,
        sign_end=0.5,
        wer=0.1,
    )
    tuned_on = f"checkpoint {run.checkpoint_steps}, full attention"
    content = {"tuned_on": tuned_on, "decoders": [dataclasses.asdict(row)]}
    files.write_json(talkative_run / decoder_settings.TUNED, content)
    try:
        tuned = Recognizer.load(talkative_run)
        [cool] = tuned.transcribe(paths_of(data)[0])
        [offline] = tuned.transcribe(paths_of(data)[0], chunk=4, left_context=16)
        stream = tuned.stream(chunk=4, left_context=16)
        keypoints = np.load(paths_of(data)[0])
        streamed = [*stream.push(keypoints).stable, *stream.finish().stable]
    finally:
        (talkative_run / decoder_settings.TUNED).unlink()
    [plain] = recognizer.transcribe(paths_of(data)[0])
    expected = confidence.calibrate([gloss.confidence for gloss in plain.glosses], 2.0)
    np.testing.assert_allclose([gloss.confidence for gloss in cool.glosses], expected, rtol=1e-5)
    for gloss, before in zip(cool.glosses, plain.glosses, strict=True):
        assert gloss.start == pytest.approx(max(before.start - 0.25, 0.0))
        assert gloss.end == pytest.approx(before.start + 0.5)
    times = [[(x.label, x.start, x.end) for x in found] for found in (streamed, offline.glosses)]
    assert times[0] == times[1] and times[0]


def test_a_data_sets_aspect_is_heeded(data, recognizer, tmp_path):
    path = paths_of(data)[0]
    folder = tmp_path / "set" / "test" / "features"
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    files.write_json(tmp_path / "set" / "dataset.json", {"aspect": 2.0})
    found, plain = recognizer.keypoints(folder / path.name), np.load(path)
    np.testing.assert_array_equal(found, joints.in_widths(plain, 2.0))
    assert not np.array_equal(found, plain)


def test_a_video_is_read(talkative_run, recognizer, tmp_path):
    path = videos.shared("videos/soup.mp4")
    fresh = Recognizer.load(talkative_run, hand_landmarker=videos.model())
    keypoints = fresh.keypoints(path)
    assert keypoints.shape[1:] == (42, 7) and keypoints.any()
    assert fresh.transcribe(path)[0].text == recognizer.transcribe(keypoints)[0].text
    (tmp_path / "empty.mp4").touch()
    videos.write(tmp_path / "one.mp4", videos.numbered(1))
    for name, message in (
        ("empty.mp4", "empty.mp4: is empty"),
        ("one.mp4", "no hand in any of its 1"),
    ):
        with pytest.raises(WSignError, match=message) as error:
            fresh.transcribe(tmp_path / name)
        assert "\n" not in str(error.value)


def readme(page: str) -> str:
    """The Python block of a page."""
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return block


def test_plain_orbax_calls_restore_it_as_the_readme_says(data, talkative_run, recognizer):
    features = np.load(paths_of(data)[0])
    [checkpoint] = (talkative_run / "checkpoints").iterdir()
    block = readme("wsign_jax/recognize/README.md").replace(
        "/home/me/runs/asl/checkpoints/7500", str(checkpoint)
    )
    positions, confidence = (array[None] for array in joints.positions_and_confidence(features))
    found = {"positions": positions, "confidence": confidence}
    found["frames"] = np.array([len(features)], np.int32)
    exec(block, found)
    [expected] = recognizer.logits(features[None], [len(features)])
    np.testing.assert_allclose(found["logits"][0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((5, 42, 6), np.float32), r"recording 0: shape \(5, 42, 6\) is not \(T, 42, 7\)"),
        (np.zeros((0, 42, 7), np.float32), "recording 0: has no frames"),
        (np.zeros((1, 42, 7), np.float32), "recording 0: has one frame, and signs move"),
        (np.full((5, 42, 7), np.nan, np.float32), "recording 0: has NaN or infinity, first in frame 0"),
        (np.zeros((LONGEST + 1, 42, 7), np.float32), "36001 frames are over 36000"),
        (["nothing.npy"], "nothing.npy: missing"),
        (["nothing.mp4"], "nothing.mp4: no such file"),
        (["n" * 5000], "n: cannot be read .File name too long"),
        (["a\0.npy"], "unreadable .embedded null byte"),
        (["a\0b"], "a\0b: no such file"),
        ([["a", "b"]], "recording 0: <U1, not floats; give keypoints"),
        (None, "recording 0: object, not floats"),
        (np.float32(3), r"recording 0: shape \(\) is not \(T, 42, 7\)"),
        (np.full((5, 42, 7), -0.5), "recording 0: confidence -0.5 in frame 0, joint 0; it must be"),
        ([np.zeros((9, 42, 7)), np.zeros((9, 21, 7))], r"recording 1: shape \(9, 21, 7\)"),
    ],
)  # fmt: skip
def test_bad_recordings_are_one_line(recognizer, features, message):
    with pytest.raises(WSignError, match=message) as error:
        recognizer.transcribe(features)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("features", "lengths", "message"),
    [
        ([np.zeros((9, 42, 7)), np.zeros((8, 42, 7))], [9, 8], "mixed lengths .* pad them"),
        (np.zeros((9, 42, 7)), [9], r"features \(9, 42, 7\) are not \(B, T, 42, 7\)"),
        (np.zeros((2, 9, 42, 7)), [9], r"lengths int64\[1\] are not \(2,\)"),
        (np.zeros((2, 9, 42, 7)), [9, 10], r"lengths\[1\] is 10; it must be from 2 to 9"),
        (np.zeros((2, 9, 42, 6)), [9, 9], r"row 0: shape \(9, 42, 6\)"),
        (np.zeros((2, 9, 42, 7), int), [9, 9], "row 0: int64, not floats"),
        (np.ma.zeros((2, 9, 42, 7)), [9, 9], "row 0: a masked array"),
    ],
)  # fmt: skip
def test_bad_batches_are_one_line(recognizer, features, lengths, message):
    with pytest.raises(WSignError, match=message) as error:
        recognizer.decode(features, lengths)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "best"}, "decoder 'best' is not one of greedy"),
        ({"decoder": ["greedy"]}, r"decoder is \['greedy'\]; give a name"),
        ({"chunk": -1}, "chunk is -1"),
        ({"chunk": 2.5}, "chunk is 2.5; give patches"),
        ({"chunk": np.zeros((9, 42))}, "chunk is array.*; give patches"),
        ({"left_context": 2**32}, "left_context is 4294967296; give less"),
    ],
)
def test_a_wrong_decoder_or_window_is_one_line(recognizer, options, message):
    with pytest.raises(WSignError, match=message) as error:
        recognizer.prepare(**options)
    assert "\n" not in str(error.value)


def test_a_window_may_be_of_any_integer_type(data, recognizer):
    path = paths_of(data)[0]
    one, other = (
        recognizer.transcribe(path, chunk=kind(2), left_context=kind(3)) for kind in (int, np.int64)
    )
    assert one == other


def nasty(rng):
    """What a program may pass by mistake, or to do harm."""
    features = random_features(rng, 20)
    scalars = (None, float("nan"), float("inf"), -1, 0, 1e300, "8", b"x", [], {}, object(), 2**63)
    scalars += (10**400, np.bool_(True), np.datetime64(0, "s"), 1j, "a\0", "n" * 5000, print)
    arrays = [features.astype(kind) for kind in (bool, int, complex, str, "datetime64[s]", object)]
    arrays += [features * 50, -features, features[:, :5], features[None], features[:0], features[0]]
    arrays += [np.full_like(features, value) for value in (np.nan, np.inf, 1e30, 1e6)]
    arrays += [np.ma.masked_less(features, 0.5), np.zeros(5, [("x", float)]), np.zeros((2, 0, 7))]
    hands = [Detection(x, 0, 0.9) for x in (features[0, :21, :3], features[0, :5, :3], None)]
    return [*scalars, *arrays, *([hand] for hand in hands), [features, None], [[1.0], [1.0, 2.0]]]


def hostile_call(recognizer, rng):
    """One call, or one stream's, of which any argument may be anything."""

    def some(*good):
        choices = good if rng.random() < 0.75 else nasty(rng)
        return choices[rng.integers(len(choices))]

    window = {"chunk": some(2), "left_context": some(3), "decoder": some("greedy")}
    if rng.random() < 0.5:
        return recognizer.transcribe(some(random_features(rng, 20)), **window)
    stream = recognizer.stream(**window, endpoint_seconds=some(0.0))
    hand = Detection(random_features(rng, 1)[0, :21, :3], 0, 0.9)
    for time in range(3):
        keypoints, given = (random_features(rng, 20), [hand]), (None, time / 30)
        kind = rng.integers(2)
        with contextlib.suppress(WSignError):  # after which it goes on
            stream.push(some(keypoints[kind]), some(given[kind]))
    return stream.finish()


@pytest.mark.filterwarnings("error")
def test_hostile_calls_give_a_result_or_one_line(talkative_run, tmp_path):
    recognizer = Recognizer.load(talkative_run, hand_landmarker=tmp_path / "none.task")
    results = 0
    for seed in range(200):
        try:
            hostile_call(recognizer, np.random.default_rng(seed))
            results += 1
        except WSignError as error:
            assert "\n" not in str(error), seed
    assert 20 < results < 180


def test_a_folder_that_is_no_run(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(WSignError, match="no checkpoint"):
            Recognizer.load(path)
    (tmp_path / "file").write_text("no export")
    with pytest.raises(WSignError, match=r"file: not a file that tools/export.py wrote"):
        Recognizer.load(tmp_path / "file")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(WSignError, match=r"model.onnx: ONNX is for other runtimes"):
        Recognizer.load(tmp_path / "model.onnx")


def test_a_checkpoint_from_a_newer_version(talkative_run, tmp_path):
    copy = changed_metadata(talkative_run, tmp_path, lambda saved: saved.update(format=99))
    with pytest.raises(
        WSignError, match=r"newer version .*format 99; this one reads format 2"
    ) as error:
        Recognizer.load(copy)
    assert "\n" not in str(error.value)


def test_a_vocabulary_that_was_edited_after_training(talkative_run, recognizer, tmp_path):
    def edit(saved):
        saved["run"]["vocabulary"][1] = "HELLO"

    copy = changed_metadata(talkative_run, tmp_path, edit)
    with pytest.raises(WSignError, match="bits of its metadata changed") as error:
        Recognizer.load(copy)
    assert "\n" not in str(error.value)
    # Of the data set's own file, which others may go on with, the model's names do not depend.
    assert recognizer.vocabulary.names[1] == "G1"


def test_importing_the_package_brings_no_jax():
    code = "import sys, wsign_jax; assert 'jax' not in sys.modules; wsign_jax.Recognizer"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'Recogniter'"):
        import wsign_jax  # noqa: PLC0415

        wsign_jax.Recogniter  # noqa: B018

"""The JavaScript that recognizes, in node, against Python."""

import dataclasses
import functools
import json
import pathlib
import shutil
import subprocess
from typing import NamedTuple

import jax
import numpy as np
import pytest

from tests.helpers import streams, videos
from tests.helpers.hands import L, R, hand
from tests.helpers.signs import mirrored, pause, rest
from tests.web.conftest import tell_signs
from wsign_jax.common.errors import WSignError
from wsign_jax.data.generated import synthetic
from wsign_jax.decode import unknown
from wsign_jax.decode.calibration import NOT_CALIBRATED, Calibration
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.enrolled_signs import EnrolledSigns
from wsign_jax.decode.streaming import GreedyStreamDecoder
from wsign_jax.decode.transcript import DROP, MARK, OFF, UNKNOWN, Transcript
from wsign_jax.evaluate.decoder_settings import choose_settings, unknown_rule
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import Detection, Landmarker
from wsign_jax.keypoints.picture_stream import PictureStream
from wsign_jax.keypoints.track import Frames, concatenate
from wsign_jax.recognize import enrollment, export_onnx
from wsign_jax.stream import options, run_stream
from wsign_jax.stream.chunks import ChunkOutputs
from wsign_jax.stream.sentence_end import Endpointer
from wsign_jax.stream.stream import Stream
from wsign_jax.web import assets, model_folder

RUNNER = pathlib.Path(__file__).with_name("run_stream.mjs")
SIZE = (320, 240)  # width and height of a picture
# Of the enrolled signs: the first is found only alone, the second in sentences, neither with a
# confidence of nearly 1, which hides differences.
THRESHOLDS = [1.0, 0.9]
CALIBRATION = Calibration(1.0, -0.1, 0.2)


class Seen(NamedTuple):
    """One picture."""

    time: float
    hands: list[Detection]  # y as MediaPipe gives it, in picture heights


# ------------------------------------------------------------------------------------------ pictures


def drawn():
    """Hands that come, go, cross, are reported twice or under a wrong name, at uneven times."""
    rng, time, found = np.random.default_rng(0), 1000.0, []
    for number in range(400):
        time += {90: 0.0, 150: 45.0, 200: 700.0, 250: 0.5}.get(number, rng.uniform(0.005, 0.08))
        hands = [
            hand(x + 0.2 * np.sin(number / 9), 0.5 + y, label, rng.uniform(0.5, 1.0))
            for x, y, label in ((0.35, 0.1 * np.cos(number / 5), R), (0.6, 0.0, L), (0.61, 0.0, R))
            if rng.random() < 0.7 and not 145 < number < 155
        ]
        hands = [one._replace(hand=1 - one.hand) if rng.random() < 0.1 else one for one in hands]
        if number % 50 == 7 and hands:
            hands[0] = hands[0]._replace(landmarks=np.full((21, 3), np.nan))
        found.append(Seen(time, hands))
    return found


def from_keypoints(positions, confidence, fps):
    """Pictures of keypoints (t, 42, 3) and confidence (t, 2)."""
    return [
        Seen(
            number / fps,
            [
                Detection(
                    positions[number, rows].astype(float), side, float(confidence[number, side])
                )
                for side, rows in enumerate(joints.HANDS)
                if confidence[number, side]
            ],
        )
        for number in range(len(positions))
    ]


def signing():
    """Two sentences of built-in signing."""
    settings = synthetic.SigningSettings()
    both = [synthetic.make_sentence(settings, "train", index).features for index in range(2)]
    features = np.concatenate([both[0], np.zeros((90, 42, 7), np.float32), both[1]])
    return from_keypoints(*joints.positions_and_confidence(features[::2]), 30)


def clips():
    """Twelve clips of real signs, after one another."""
    with np.load(videos.shared("asl-clips/hello.npz")) as file:
        positions, present = file["keypoints"][:12], file["present"][:12]
    return from_keypoints(
        positions.reshape(-1, 42, 3), 0.9 * present.reshape(-1, 2).astype(np.float64), 25
    )


@functools.cache
def video(name):
    """Landmarks of a real video."""
    pictures, times = videos.pictures_of(videos.shared(f"videos/{name}.mp4"))
    with Landmarker(videos.model()) as landmarker:
        found = [landmarker.detect(*each) for each in zip(pictures, times, strict=True)]
    height, width = pictures[0].shape[:2]
    return [
        Seen(time, [d._replace(landmarks=d.landmarks / [1, height / width, 1]) for d in detections])
        for time, detections in zip(times, found, strict=True)
    ]


PICTURES = {
    "drawn": drawn,
    "signing": signing,
    "clips": clips,
    "soup": lambda: video("soup"),
    "selfie": lambda: video("selfie"),
}


# ------------------------------------------------------------------------------------------- streams


@pytest.fixture(scope="session")
def ort(tmp_path_factory):
    """A folder with onnxruntime-web."""
    try:
        package = assets.read_package(assets.ONNX_RUNTIME)
    except WSignError as error:
        pytest.skip(f"onnxruntime-web is not here: {error}")
    folder = tmp_path_factory.mktemp("ort")
    for name, content in package.items():
        (folder / pathlib.PurePosixPath(name).name).write_bytes(content)
    return folder


def in_node(job, ort_folder="."):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        ["node", RUNNER, ort_folder],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def as_job(pictures):
    width, height = SIZE
    return [
        {
            "time": time,
            "width": width,
            "height": height,
            "hands": [
                {
                    "hand": ("left", "right")[d.hand],
                    "score": d.score,
                    "points": np.nan_to_num(d.landmarks, nan=1e30).tolist(),
                }
                for d in hands
            ],
        }
        for time, hands in pictures
    ]


class Ends(Endpointer):
    """Tells where sentences end, and does not decode them again."""

    def _decode(self, sentence):
        return Transcript([], 0.0)


def playing(model, table):
    """The model, but its steps give the log posteriors (steps, C, V) of a table."""
    played = iter(table)

    def play(cache, chunk):
        return ChunkOutputs(np.zeros((model.chunk, 128), np.float32), None, next(played)), cache

    return dataclasses.replace(model, step=play)


def recording(model):
    """The model, and a list that fills with every step's chunk and log posteriors."""
    steps = []

    def step(cache, chunk):
        outputs, cache = model.step(cache, chunk)
        steps.append((chunk, np.asarray(outputs.log_probs)))
        return outputs, cache

    return dataclasses.replace(model, step=step), steps


def in_python(model, pictures, endpointer):
    """The result of every picture and of the end, every step's chunk and log posteriors, the cache."""
    model, steps = recording(model)
    stream = Stream(model, GreedyStreamDecoder(), endpointer)
    results, last, (width, height) = [], -np.inf, SIZE
    for time, hands in pictures:
        if time > last:
            scaled = [d._replace(landmarks=d.landmarks * [1, height / width, 1]) for d in hands]
            results.append(stream.push(scaled, time))
        else:
            results.append(results[-1]._replace(stable=[], final=None))
        last = max(time, last)
    return [*results, stream.finish()], steps, stream.state.cache


def assert_same(found, results, steps, sure):
    """What node found is what Python did; confidences to within `sure`."""
    assert len(found["steps"]) == len(steps) > 2
    for here, (chunk, log_probs) in zip(found["steps"], steps, strict=True):
        for name in ("begin", "end", "first", "patches"):
            assert here[name] == np.ravel(getattr(chunk, name)).tolist(), name
        np.testing.assert_allclose(here["positions"], chunk.positions.ravel(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(here["hands"], chunk.confidence.ravel(), rtol=0, atol=1e-6)
        for name, table in zip(("cos", "sin"), chunk.angles or (), strict=False):
            np.testing.assert_allclose(here[name], table.ravel(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(here["log_probs"], log_probs.ravel(), rtol=0, atol=1e-4)
    for here, result in zip(found["results"], results, strict=True):
        assert here["sentenceEnd"] == (result.final is not None)
        for mine, theirs in ((here["stable"], result.stable), (here["pending"], result.partial)):
            sures = [gloss.pop("confidence") for gloss in mine]
            plain = [dataclasses.asdict(gloss) for gloss in theirs]
            np.testing.assert_allclose(sures, [g.pop("confidence") for g in plain], atol=sure)
            assert mine == plain


def run_with_short_sentences(name):
    run = streams.model(name)
    config = run.config.copy_and_resolve_references()
    config.data.max_seq_length = 80
    return dataclasses.replace(run, config=config)


@pytest.mark.parametrize(
    ("pictures", "name", "chunk", "endpoint_seconds", "calibration"),
    [
        ("drawn", "rotary", 8, 1.0, NOT_CALIBRATED),
        ("drawn", "look-ahead", 3, 0.0, Calibration(2.5, -0.3, 0.2)),
        ("signing", "sinusoidal", 8, 0.3, Calibration(0.5, 0.1, 1.0)),
        ("signing", "look-ahead", 1, 0.2, NOT_CALIBRATED),
        ("clips", "look-ahead", 8, 0.1, NOT_CALIBRATED),
        ("soup", "rotary", 3, 0.1, NOT_CALIBRATED),
        ("selfie", "look-ahead", 1, 0.0, NOT_CALIBRATED),
    ],
)
def test_pictures_become_the_same_chunks_and_posteriors_the_same_glosses(
    pictures, name, chunk, endpoint_seconds, calibration, monkeypatch
):
    monkeypatch.setattr(options, "_DEFAULT_CHUNK", chunk)
    run, seen = run_with_short_sentences(name), PICTURES[pictures]()
    model, _, _ = run_stream.stream_parts(run)
    rng, vocab_size = np.random.default_rng(0), len(run.vocabulary)
    logits = 3 * rng.normal(size=(1500, chunk, vocab_size)) + [3, *[0] * (vocab_size - 1)]
    logits = np.repeat(logits.reshape(-1, vocab_size), 2, axis=0)[: 1500 * chunk]
    table = np.asarray(jax.nn.log_softmax(np.float32(logits)).reshape(1500, chunk, -1))
    model = dataclasses.replace(playing(model, table), calibration=calibration)
    endpointer = Ends(run, endpoint_seconds, chunk) if endpoint_seconds else None
    results, steps, _ = in_python(model, seen, endpointer)
    settings, _ = model_folder.stream_content(run)
    settings |= calibration._asdict()
    settings["sentence_end"]["rest_frames"] = round(endpoint_seconds * joints.FPS)
    job = {
        "settings": settings,
        "pictures": as_job(seen),
        "log_probs": table[: len(steps)].tolist(),
    }
    found = in_node(job)
    assert found["labels"] == list(run.vocabulary.names[1:])
    assert_same(found, results, steps, 1e-9)
    assert sum(len(result.stable) for result in results) > 2
    ends = sum(result.final is not None for result in results)
    assert bool(ends) == bool(endpoint_seconds)


def clip(name, number):
    """A clip of a real sign as the page's frames: (T, 42, 7) features at 60 Hz."""
    with np.load(videos.shared(f"asl-clips/{name}.npz")) as file:
        positions, present = file["keypoints"][number], file["present"][number]
    pictures = from_keypoints(
        positions.reshape(-1, 42, 3), 0.9 * present.reshape(-1, 2).astype(np.float64), 25
    )
    stream = PictureStream()
    parts = [part for time, hands in pictures for part in stream.push(time, hands)]
    frames = concatenate([*parts, stream.finish()])
    return joints.features_from_positions(*frames, fps=joints.FPS).astype(np.float32)


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """A run that tells unknown and enrolled signs, its job, a table of log posteriors, and signing."""
    run = dataclasses.replace(streams.model("rotary"), workdir=tmp_path_factory.mktemp("run"))
    rng, size = np.random.default_rng(11), len(run.vocabulary)
    logits = 2 * rng.normal(size=(600, size)) + [5, *[0] * (size - 1)]
    table = np.asarray(jax.nn.log_softmax(np.float32(np.repeat(logits, 2, axis=0))))
    ids = np.arange(len(table)) % (size - 1)  # the last gloss has no example
    signs = {
        name.upper(): [Frames(*joints.positions_and_confidence(clip(name, n))) for n in (0, 1)]
        for name in ("tea", "water")
    }
    tell_signs(run, unknown.fit_familiarity(table.astype(float), ids, size), 0.4, signs)
    away, tea = pause(100), clip("tea", 3)
    sentences = [clip(name, n) for n in (2, 3, 4) for name in ("hello", "tea", "please", "water")]
    held = [rest(tea[:1], 12), tea, rest(tea, 12)]
    signing = np.concatenate([*sentences, away, tea, away, mirrored(tea), away, *held, away])
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_onnx, "export_onnx_stream", lambda _, path: path.touch())
        model_folder.write_model_folder(run, folder)
    settings = json.loads((folder / model_folder.SETTINGS).read_bytes())
    settings["enrolled"]["thresholds"] = THRESHOLDS
    settings |= CALIBRATION._asdict()
    table = table.reshape(-1, settings["chunk"], size)
    job = {"settings": settings, "folder": str(folder), "log_probs": table.tolist()}
    return run, job, table, signing


@pytest.mark.parametrize(("size", "mode"), [(1, MARK), (7, DROP), (400, OFF)])
def test_enrolled_and_unknown_signs_are_those_of_python(size, mode, telling):
    run, job, table, signing = telling
    model, _, _ = run_stream.stream_parts(run)
    model = dataclasses.replace(playing(model, table), calibration=CALIBRATION)
    model, steps = recording(model)
    stream = Stream(model, GreedyStreamDecoder())
    rule = unknown_rule(run, choose_settings(run, GREEDY))
    known = enrollment.read(run.workdir / enrollment.ENROLLED, run.vocabulary).prototypes()
    known = known._replace(thresholds=np.array(THRESHOLDS))
    stream.begin_with(EnrolledSigns(known, True), rule, mode)
    pushes = [signing[begin : begin + size] for begin in range(0, len(signing), size)]
    results = [*map(stream.push, pushes), stream.finish()]
    positions, confidence = joints.positions_and_confidence(signing)
    frames = {"positions": positions.ravel().tolist(), "confidence": confidence.ravel().tolist()}
    found = in_node(job | {"frames": frames | {"size": size}, "unknown": mode})
    assert_same(found, results, steps, 1e-5)
    said = {gloss.label for result in results for gloss in result.stable}
    assert {"TEA", "WATER", "GLOSS-1"} < said and (UNKNOWN in said) == (mode == MARK)


def test_a_gloss_is_as_familiar_as_in_python(telling):
    run, job, table, _ = telling
    vectors, ids = table[0].astype(float), np.arange(8) % len(run.vocabulary)
    expected = unknown_rule(run, choose_settings(run, GREEDY)).familiarity.scores(vectors, ids)
    found = in_node(job | {"vectors": vectors.tolist(), "ids": ids.tolist()})["scores"]
    assert np.isinf(expected).sum() == 1
    np.testing.assert_allclose([float(score) for score in found], expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore")  # of jax2onnx
def test_the_model_streams_as_in_jax(ort, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra [onnx] is not installed")
    run = run_with_short_sentences("look-ahead")
    model_folder.write_model_folder(run, tmp_path)
    settings = json.loads((tmp_path / model_folder.SETTINGS).read_bytes())
    job = {"settings": settings, "folder": str(tmp_path)}
    model, _, _ = run_stream.stream_parts(run)
    for name in ("drawn", "soup"):
        seen = PICTURES[name]()
        endpointer = Ends(run, model_folder.ENDPOINT_SECONDS, model.chunk)
        results, steps, cache = in_python(model, seen, endpointer)
        found = in_node(job | {"pictures": as_job(seen)}, ort)
        assert_same(found, results, steps, 1e-4)
        assert any(result.stable for result in results)
        for mine, theirs in zip(found["state"].values(), jax.tree.leaves(cache), strict=True):
            np.testing.assert_allclose(mine, np.ravel(theirs), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"settings": {"version": 1}}, "model/stream.json is of version 1, and this page reads"),
        ({"settings": None}, "model/stream.json is of version undefined"),
        ({"no_simd": True}, "This browser has no WebAssembly SIMD, which recognition needs; open"),
        ({}, "model/stream.onnx cannot be opened ("),
        (
            {"arrays": {"enrolled.f32": {"vectors": [1, 2208]}}},
            "model/enrolled.f32 and stream.json are not of one model; write the page's folder again",
        ),
        (
            {"url": "http://127.0.0.1:9/model"},
            "http://127.0.0.1:9/model/stream.json cannot be loaded (",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence_that_says_what_to_do(changed, expected, ort):
    settings, _ = model_folder.stream_content(streams.model("rotary"))
    settings["arrays"] = changed.pop("arrays", {})
    message = in_node({"settings": settings, "pictures": []} | changed, ort)["error"]
    assert message.startswith(expected) and message.endswith(".")

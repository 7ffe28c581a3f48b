import functools
import itertools
import resource
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import random_features
from tests.helpers.streams import MODELS, WINDOWS, V, model
from wsign_jax.common.errors import WSignError
from wsign_jax.decode.align import align_labels, spans_in_seconds
from wsign_jax.decode.greedy import ctc_greedy
from wsign_jax.decode.no_hands import patches_without_hands
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import RIGHT_HAND, Detection
from wsign_jax.keypoints.track import Tracker, concatenate
from wsign_jax.model import whisper_sign
from wsign_jax.stream.chunks import fill_chunk, next_chunk
from wsign_jax.stream.run_stream import make_step, run_model, stream_parts, stream_run
from wsign_jax.stream.stream import Stream

LONGEST = 160  # frames of a sequence that is drawn


class Recorded(Stream):
    """A stream that keeps the logits of the patches that it encodes."""

    def __init__(self, run, **options):
        self.logits = {}  # by patch
        super().__init__(*stream_parts(run, **options))
        self.logits = {}  # without those of the step that compiled

    def _encode(self, state, patches):
        outputs, cache = super()._encode(state, patches)
        for number, row in enumerate(np.asarray(outputs.logits), state.first):
            if 0 <= number < patches:
                self.logits[number + state.skipped] = row
        return outputs, cache


class Offline(NamedTuple):
    """What the whole sequence gives at once, under the same mask."""

    logits: np.ndarray  # (N, V)
    labels: list[int]
    spans: np.ndarray  # (U, 2) seconds
    confidences: np.ndarray  # (U,)


@functools.cache
def offline_program(name):
    graph = model(name).network.graph

    @jax.jit
    def program(params, positions, confidence, frames, no_hands, chunk, left_context):
        network = whisper_sign.bind_params(graph, params)
        features = network.features(positions, confidence, frames)
        encoded, patches = network.encode(features, frames, chunk=chunk, left_context=left_context)
        logits = network.ctc_logits(encoded)
        blank = jnp.where(jnp.arange(V) == 0, 0.0, -jnp.inf)[None, None]
        log_probs = jnp.where(no_hands[..., None], blank, jax.nn.log_softmax(logits))
        greedy = ctc_greedy(log_probs, patches)
        labels, lengths = greedy.labels[:, 0], greedy.label_lengths[:, 0]
        return logits, labels, lengths, align_labels(log_probs, patches, labels, lengths)

    return program


def offline(name, features, chunk, left_context):
    """By the model's own encoder, greedy decoding and alignment; blanks where no hand is seen."""
    look_ahead = model(name).config.model.frontend.look_ahead
    no_hands = patches_without_hands(joints.seen_hands(features).any(axis=1), chunk, 4, look_ahead)
    room = LONGEST if len(features) <= LONGEST else 1500
    padded = np.zeros((1, room, 42, 7), np.float32)
    padded[0, : len(features)] = features
    logits, labels, lengths, found = offline_program(name)(
        model(name).params,
        padded[..., joints.POSITION],
        padded[:, :, joints.WRISTS, joints.CONFIDENCE],
        np.array([len(features)], np.int32),
        np.pad(no_hands, (0, room // 4 - len(no_hands)))[None],
        np.int32(chunk),
        np.int32(left_context),
    )
    count = int(lengths[0])
    starts, ends, confidences = (np.asarray(x)[0, :count] for x in found[:3])
    labels = np.asarray(labels)[0, :count].tolist()
    logits = np.asarray(logits)[0, : len(no_hands)]
    return Offline(logits, labels, spans_in_seconds(starts, ends, 4), confidences)


def assert_same(stream, stable, expected):
    """What a stream gave is what the whole gives; labels exactly."""
    encoded = sorted(stream.logits)
    streamed = np.array([stream.logits[patch] for patch in encoded])
    error = np.abs(streamed - expected.logits[encoded]).max()
    assert error <= 1e-5 * np.abs(expected.logits).max()
    ids = model("rotary").vocabulary.ids
    assert [ids[gloss.label] for gloss in stable] == expected.labels
    times = np.array([(gloss.start, gloss.end) for gloss in stable]).reshape(-1, 2)
    np.testing.assert_allclose(times, expected.spans, atol=1e-9)
    np.testing.assert_allclose([g.confidence for g in stable], expected.confidences, atol=1e-4)


def stream_all(stream, features, pushes):
    """Pushes a sequence in parts of the given lengths, and again from the first, to its end."""
    stable, begin, part = [], 0, 0
    while begin < len(features):
        end = begin + pushes[part % len(pushes)]
        stable += stream.push(features[begin:end]).stable
        begin, part = end, part + 1
    return stable + stream.finish().stable


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(
    window=st.sampled_from(range(len(WINDOWS))),
    frames=st.integers(1, LONGEST),
    pushes=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    gap=st.tuples(st.integers(0, LONGEST), st.integers(0, LONGEST)),
    seed=st.integers(0, 99),
)
def test_a_stream_in_any_parts_is_the_whole_under_the_same_mask(
    name, window, frames, pushes, gap, seed
):
    run = model(name)
    window = WINDOWS[window if name == "rotary" else window % 2]  # each is compiled
    features = random_features(np.random.default_rng(seed), frames)
    features[gap[0] : gap[0] + gap[1]] = 0.0
    stream = Recorded(run, chunk=window[0], left_context=window[1])
    stable = stream_all(stream, features, pushes)

    assert_same(stream, stable, offline(name, features, *window))
    if name == "sinusoidal" or not gap[1]:
        assert len(stream.logits) == -(-frames // 4)


def test_one_frame_at_a_time():
    features = random_features(np.random.default_rng(1), 90)
    for window in WINDOWS:
        stream = Recorded(model("rotary"), chunk=window[0], left_context=window[1])
        stable = stream_all(stream, features, [1])
        assert len(stream.logits) == 23 and stable
        assert_same(stream, stable, offline("rotary", features, *window))


def size_of(state):
    """Bytes of all arrays, and how many numbers there are beside."""
    leaves = jax.tree.leaves(state)
    arrays = [leaf for leaf in leaves if hasattr(leaf, "nbytes")]
    return sum(leaf.nbytes for leaf in arrays), len(leaves) - len(arrays)


def test_state_and_work_of_a_chunk_never_grow():
    run, (chunk, left) = model("rotary"), WINDOWS[2]
    stream = stream_run(run, chunk=chunk, left_context=left)
    sizes, features = set(), random_features(np.random.default_rng(0), 50)
    for _ in range(30):
        stream.push(features)
        sizes.add(size_of(stream.state))
    assert len(sizes) == 1

    step = make_step(run.network.graph)
    flops = []
    for first in (0, 10 * chunk):
        state = stream.state._replace(first=first, filled=len(stream.state.frames.confidence))
        lowered = step.lower(
            run.params, state.cache, next_chunk(run_model(run, chunk, left), state)
        )
        flops.append(lowered.compile().cost_analysis()["flops"])
    weights = sum(
        leaf.size
        for part in ("frontend", "encoder", "ctc_head")
        for leaf in jax.tree.leaves(run.params[part])
    )
    # Every weight once a patch, and attention to the ring: nothing is computed twice.
    attended = 2 * 2 * 2 * chunk * (left + chunk) * 128
    assert flops[0] == flops[1] < 1.2 * (2 * chunk * weights + attended)


def test_an_hour_of_a_stream_takes_no_memory_and_compiles_once():
    run = model("rotary")
    stream = stream_run(run, chunk=32, left_context=16)
    step = make_step(run.network.graph)
    programs = step._cache_size()
    minute = random_features(np.random.default_rng(0), 3600)
    medians, peaks = [], []
    for _ in range(60):
        seconds_before = []
        for begin in range(0, len(minute), 128):
            before = time.perf_counter()
            stream.push(minute[begin : begin + 128])
            seconds_before.append(time.perf_counter() - before)
        medians.append(np.median(seconds_before))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert stream.state.first == 15 * 3600 // 32 * 32
    assert step._cache_size() == programs
    assert peaks[-1] < 1.02 * peaks[2]
    # Were all of it encoded again, it would be 60 times as long.
    assert medians[-1] < 10 * medians[0]


@pytest.mark.parametrize("name", ["rotary", "look-ahead"])
@pytest.mark.parametrize("pushed", [50, 2000])
def test_after_a_long_pause_nothing_is_computed_and_nothing_has_changed(name, pushed, monkeypatch):
    filled = []
    monkeypatch.setattr(
        "wsign_jax.stream.stream.fill_chunk", lambda *args: filled.append(0) or fill_chunk(*args)
    )
    rng = np.random.default_rng(3)
    before, after = random_features(rng, 101), random_features(rng, 150)
    # In a chunk of 12 frames the hand comes back, and the recording ends, at each of its frames.
    for pause in range(1000, 1012):
        features = np.concatenate([before, np.zeros((pause, 42, 7), np.float32), after])
        for chunk, left in WINDOWS[0 if pause < 1004 else 1 : 2]:
            filled.clear()
            stream = Recorded(model(name), chunk=chunk, left_context=left)
            stable = stream_all(stream, features, [pushed])
            assert len(stream.logits) < (251 + 350) // 4
            assert pushed < len(features) or len(filled) < (251 + 350) // (4 * chunk)
            assert stream.state.total == len(features)
            assert max(gloss.start for gloss in stable) > (101 + pause) / 60
            assert_same(stream, stable, offline(name, features, chunk, left))


def test_endpointing_closes_sentences_and_leaves_the_rest_as_it_is():
    rng = np.random.default_rng(0)
    rest = np.zeros((90, 42, 7), np.float32)
    parts = [random_features(rng, 100), rest, random_features(rng, 80), rest]
    results = []
    for wait in (0.0, 0.5):
        stream = stream_run(model("rotary"), chunk=3, left_context=0, endpoint_seconds=wait)
        results.append([stream.push(part) for part in parts] + [stream.finish()])
    for plain, ending in zip(*results, strict=True):
        assert (ending.stable, ending.partial) == (plain.stable, plain.partial)
        assert plain.final is None
    assert results[1][0].final is None  # hands do not rest
    finals = [result.final for result in results[1][1:] if result.final]
    assert len(finals) >= 2 and all(final.glosses for final in finals)
    starts = [gloss.start for final in finals for gloss in final.glosses]
    assert starts == sorted(starts)
    # Nothing is recognized any more, so there is nothing to close either.
    stream = stream_run(model("rotary"), chunk=3, left_context=0, endpoint_seconds=0.5)
    assert not any(stream.push(rest).final for _ in range(5)) and stream.finish().final is None


def test_prefix_beam_search_streams_with_a_state_that_never_grows():
    features = random_features(np.random.default_rng(4), 300)
    found, sizes = [], set()
    for pushes in ([300], [7, 20]):
        stream = stream_run(model("rotary"), chunk=3, left_context=0, decoder="prefix_beam")
        found.append(stream_all(stream, features, pushes))
        sizes.add(size_of(stream.state))
    assert found[0] == found[1] != [] and len(sizes) == 1
    for before, after in itertools.pairwise(found[0]):
        assert before.start < before.end <= after.start
    no_hands = stream_run(model("rotary"), chunk=3, left_context=0, decoder="prefix_beam")
    assert no_hands.push(np.zeros((900, 42, 7), np.float32)) == ([], [], None) == no_hands.finish()


def test_nan_is_an_absent_hand_and_is_counted():
    features = random_features(np.random.default_rng(2), 120)
    absent, broken = features.copy(), features.copy()
    absent[40:60, :21] = 0.0
    broken[40:60, 5, 2] = np.nan
    absent[60:62] = 0.0
    broken[60, 0, 0], broken[60, 30, 6] = np.inf, np.nan
    broken = broken.astype(np.float64)
    broken[61, 20, 3], broken[61, 41, 0] = -1e300, np.nan
    absent[62, :21], broken[62, 4, 1] = (
        0.0,
        1e30,
    )  # finite, but its hand would spoil all that follow
    streams = [stream_run(model("rotary"), chunk=3, left_context=0) for _ in range(2)]
    glosses = [
        stream_all(stream, keypoints, [17])
        for stream, keypoints in zip(streams, (absent, broken), strict=True)
    ]
    assert glosses[0] == glosses[1] != []
    assert [stream.nan_frames for stream in streams] == [0, 23]


def test_partial_glosses_become_stable_and_stable_ones_stay():
    stream = stream_run(model("rotary"), chunk=1, left_context=6)
    features = random_features(np.random.default_rng(5), 200)
    stable, waiting = [], []
    for begin in range(0, 200, 4):
        result = stream.push(features[begin : begin + 4])
        new = [*result.stable, *result.partial]
        for old in waiting:  # goes on, or is over
            assert (new[0].label, new[0].start) == (old.label, old.start)
            assert new[0].end >= old.end and new[0].confidence >= old.confidence
        stable, waiting = stable + result.stable, result.partial
        assert len(waiting) <= 1
    last = stream.finish()
    assert [gloss.label for gloss in last.stable] == [gloss.label for gloss in waiting]
    starts = [gloss.start for gloss in stable]
    assert starts == sorted(starts) and not last.partial


def test_pictures_are_recognized_as_tracked_frames_are_and_a_long_pause_is_passed_over():
    shape = np.random.default_rng(0).normal(0, 0.03, size=(21, 3))
    stream, tracker = Recorded(model("rotary"), chunk=3, left_context=0), Tracker()
    stable, tracked = [], []
    for number in range(90):
        place = np.array([0.5 + 0.2 * np.sin(number / 5), 0.5 + 0.1 * np.cos(number / 3), 0.0])
        found = [Detection(shape + place, RIGHT_HAND, 0.9)]
        time_s = 77.0 + number / 25 + 21.0 * (number >= 30)
        stable += stream.push(found, time_s=time_s).stable
        tracked.append(tracker.push(time_s, found))
    stable += stream.finish().stable
    frames = concatenate([*tracked, tracker.finish()])
    assert len(stream.logits) < 100 < len(frames.confidence) // 12
    features = joints.features_from_positions(*frames)
    assert_same(stream, stable, offline("rotary", features, 3, 0))


def test_pictures_and_frames_do_not_mix_and_times_are_checked():
    frame = np.zeros((1, 42, 7), np.float32)
    stream = stream_run(model("rotary"), chunk=3, left_context=0)
    with pytest.raises(WSignError, match="need its time; give time_s"):
        stream.push([])
    with pytest.raises(WSignError, match="leave time_s out"):
        stream.push(frame, time_s=0.0)
    with pytest.raises(WSignError, match="time is 1e\\+300"):
        stream.push([], time_s=1e300)  # nor is it a stream of pictures after that
    stream.push(frame[:0])  # it is no stream of pictures yet
    stream.push([], time_s=3.0)
    with pytest.raises(WSignError, match=r"time is 2.000000 s, and .* before was 3.000000 s"):
        stream.push([], time_s=2.0)
    with pytest.raises(WSignError, match="do not push them into a stream of pictures"):
        stream.push(frame)
    stream.push([], time_s=3.1)
    stream.finish()
    stream = stream_run(model("rotary"), chunk=3, left_context=0)
    stream.push(frame)
    with pytest.raises(WSignError, match="do not push them into a stream of 60 Hz frames"):
        stream.push([], time_s=3.0)


def test_sinusoidal_positions_end(capsys):
    stream = stream_run(model("sinusoidal"), chunk=8, left_context=16)
    assert "one utterance a stream, 1500 patches at most" in capsys.readouterr().err
    minute = random_features(np.random.default_rng(0), 3000)
    stream.push(minute)
    with pytest.raises(WSignError, match=r"end after 1500 patches \(100 s\), .* 6001 frames"):
        stream.push(np.concatenate([minute, minute[:1]]))
    stream.push(minute)
    stream.finish()
    assert stream.state.first == 1504

    pictures = stream_run(model("sinusoidal"), chunk=8, left_context=16)
    pictures.push([], time_s=0.0)
    with pytest.raises(WSignError, match="end after 1500 patches"):
        pictures.push([], time_s=101.0)
    pictures.finish()


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (np.zeros((3, 42, 6), np.float32), r"keypoints: shape \(3, 42, 6\) is not \(T, 42, 7\)"),
        (np.zeros((3, 42, 7), np.int64), "keypoints: int64, not floats"),
        (np.full((3, 42, 7), 50.0), "keypoints: confidence 50 in frame 0"),
        (
            None,
            r"keypoints are None; give floats \(t, 42, 7\), or a list of the hands in a picture",
        ),
        ("hand.npy", "keypoints are 'hand.npy'; give floats"),
    ],
)
def test_what_is_no_keypoints_is_named_and_the_stream_goes_on(keypoints, message):
    stream = stream_run(model("rotary"), chunk=3, left_context=0)
    with pytest.raises(WSignError, match=message):
        stream.push(keypoints)
    assert stream.push(np.zeros((0, 42, 7), np.float32)) == ([], [], None)
    assert stream.finish() == ([], [], None)


def test_a_finished_stream_takes_no_more():
    stream = stream_run(model("rotary"), chunk=3, left_context=0)
    stream.finish()
    for call in (lambda: stream.push(np.zeros((1, 42, 7), np.float32)), stream.finish):
        with pytest.raises(WSignError, match="is finished"):
            call()

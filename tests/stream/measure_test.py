import dataclasses

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.evaluate import evaluate
from wsign_jax.evaluate.trained_run import open_run, read_split
from wsign_jax.report import streaming
from wsign_jax.stream import measure
from wsign_jax.stream.run_stream import stream_run
from wsign_jax.train import validation


@pytest.fixture(scope="module")
def split(trained_run):
    """The small run with a CTC head that finds many glosses, and its test split."""
    root, work = trained_run
    run = open_run(work, overrides={"data.dir": str(root)})
    test = read_split(run, root, "test")
    encode = evaluate.TimedFunction(validation.make_encode_step(run.network))
    states = [
        np.asarray(batch.states)[row, : batch.patches[row]]
        for batch in evaluate.encode_split(run, test, encode)
        for row in np.flatnonzero(batch.example >= 0)
    ]
    kernel = np.random.default_rng(0).normal(0, 1, run.params["ctc_head"]["kernel"].shape)
    bias = -np.concatenate(states).mean(axis=0) @ kernel  # on average each id is as good as any
    head = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return dataclasses.replace(run, params=run.params | {"ctc_head": head}), test


@pytest.fixture
def segments(monkeypatch):
    """True times, of signs that follow each other evenly."""

    def even(split, example):
        edges = np.linspace(0, split.frames[example] / 60, len(split.labels[example]) + 1)
        return np.stack([edges[:-1], edges[1:]], axis=1)

    monkeypatch.setattr(layout, "read_segments", even)


def test_streams_say_what_the_whole_says_and_say_it_in_time(split, segments):
    run, test = split
    full, one, four = measure.measure(run, test, [0, 1, 4], [8])
    assert [(row.chunk, row.left_context) for row in (full, one, four)] == [(0, 0), (1, 8), (4, 8)]
    for row in (full, one, four):
        assert row.differing == 0
        assert row.ref_glosses == sum(map(len, test.labels))
        errors = row.substitutions + row.deletions + row.insertions
        assert row.wer == pytest.approx(errors / row.ref_glosses)
    assert full.chunk_ms is None and full.real_time_factor is None
    assert one.real_time_factor > 0 and sorted(one.chunk_ms) == list(one.chunk_ms)
    assert one.delay_median < full.delay_median

    # A camera's tracker makes everything later, but for what the end of a recording brings.
    (late,) = measure.measure(run, test, [1], [8], tracker=True)
    assert late.wer == one.wer
    assert one.delay_median < late.delay_median <= one.delay_median + 9 / 60 + 1e-9


def test_a_gloss_is_timed_when_the_last_frame_it_needs_was_pushed(split):
    run, test = split
    found = 0
    for example in range(len(test)):
        reported = measure._stream(
            stream_run(run, chunk=4, left_context=8), run, test, example, late=0.0
        )
        features = test.features(example)
        names, frames = [], []
        stream = stream_run(run, chunk=4, left_context=8)
        for frame in range(len(features)):
            new = stream.push(features[frame : frame + 1]).stable
            names += [gloss.label for gloss in new]
            frames += [frame + 1] * len(new)
        end = stream.finish().stable
        names += [gloss.label for gloss in end]
        frames += [len(features)] * len(end)
        assert run.vocabulary.glosses(reported.ids) == names
        np.testing.assert_allclose(reported.times, np.array(frames) / 60)
        assert len(reported.computing) == -(-len(features) // 16)
        found += len(names)
    assert found > 2, "or it shows little"


def test_without_true_times_there_are_no_delays(split):
    run, test = split
    (row,) = measure.measure(run, test, [4], [8])
    assert row.delay_median is None and row.delay_95 is None
    assert streaming.streaming_table([row]).splitlines()[-1].split(" | ")[4:6] == ["-", "-"]
    assert streaming.streaming_picture([row]).startswith(b"\x89PNG")


def test_a_window_that_is_none_is_named(split):
    run, test = split
    with pytest.raises(WSignError, match="left_context is -1"):
        list(measure.measure(run, test, [4], [-1]))

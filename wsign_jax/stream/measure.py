"""Measures how well a run streams: errors, delays and effort by chunk size and left context."""

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from wsign_jax.data import layout
from wsign_jax.evaluate.trained_run import Trained
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.picture_stream import PictureStream
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.report import metrics
from wsign_jax.report.metrics import EditCounts
from wsign_jax.report.streaming import FULL, WindowRow
from wsign_jax.stream.run_stream import stream_run
from wsign_jax.stream.stream import Stream
from wsign_jax.train import validation


class ReportedGlosses(NamedTuple):
    """The glosses that were recognized in one recording."""

    example: int  # index into the split
    ids: list[int]  # of the glosses
    times: np.ndarray  # (U,) seconds into the recording at which each was reported for good
    computing: list[float]  # seconds for each chunk


def measure(
    trained: Trained,
    split: layout.Split,
    chunks: Sequence[int],
    left_contexts: Sequence[int],
    tracker: bool = False,
) -> Iterator[WindowRow]:
    """Recognizes a split with every chunk size and left context, as a stream and as a whole.

    Sizes are in patches; the chunk `FULL` is full attention, which has no left context and no stream.
    `tracker` counts that a camera's keypoints come later than here, by `PictureStream.delay`.

    Raises:
        WSignError: a stream cannot have one of the windows.
    """
    eval_step = validation.make_eval_step(trained.network, trained.config)
    for chunk in chunks:
        for left_context in left_contexts if chunk != FULL else (0,):
            settings = validation.validation_settings(trained.config, trained.alpha)._replace(
                chunk=np.int32(chunk or FULL_ATTENTION), left_context=np.int32(left_context)
            )
            batches = validation.report_batches(trained.config, split)
            offline = validation.evaluate(
                eval_step, trained.params, split, batches, settings, trained.network.mesh
            ).hypotheses
            if chunk == FULL:
                reported = [_as_a_whole(split, example, offline[example]) for example in offline]
            else:
                late = PictureStream.delay if tracker else 0.0
                reported = list(_stream_all(trained, split, chunk, left_context, late))
            yield _row(split, (chunk, left_context), reported, offline)


def _as_a_whole(split: layout.Split, example: int, ids: list[int]) -> ReportedGlosses:
    return ReportedGlosses(example, ids, np.full(len(ids), split.frames[example] / joints.FPS), [])


def _stream_all(
    trained: Trained, split: layout.Split, chunk: int, left_context: int, late: float
) -> Iterator[ReportedGlosses]:
    with contextlib.ExitStack() as stack:
        for example in range(len(split)):
            stream = stream_run(trained, chunk=chunk, left_context=left_context)
            if example == 0:  # the first one's warnings are enough
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield _stream(stream, trained, split, example, late)


def _stream(
    stream: Stream, trained: Trained, split: layout.Split, example: int, late: float
) -> ReportedGlosses:
    """Pushes a recording by patches and the frame after, so that each gloss comes as early as it can."""
    features, step = split.features(example), trained.patch_size
    ids: list[int] = []
    times: list[float] = []
    computing = [0.0]  # the last is of the chunk that is being filled
    for part in (*np.split(features, range(step + 1, len(features), step)), None):
        chunks, began = stream.spent.chunks, time.perf_counter()
        glosses = (stream.finish() if part is None else stream.push(part)).stable
        computing[-1] += time.perf_counter() - began
        if stream.spent.chunks > chunks:
            computing.append(0.0)
        ids += [trained.vocabulary.ids[gloss.label] for gloss in glosses]
        # The end of a recording is known when it comes, and the tracker has nothing to wait for then.
        gone_by = min(stream.state.total / joints.FPS + late, len(features) / joints.FPS)
        times += [gone_by] * len(glosses)
    return ReportedGlosses(example, ids, np.array(times), computing[:-1])


def _row(
    split: layout.Split,
    window: tuple[int, int],
    reported: Sequence[ReportedGlosses],
    offline: dict[int, list[int]],
) -> WindowRow:
    counts = EditCounts()
    timed = []
    for sentence in reported:
        edits = metrics.align_edits(split.labels[sentence.example].tolist(), sentence.ids)
        counts += metrics.count_edits(edits)
        segments = layout.read_segments(split, sentence.example)
        if segments is not None:
            timed.append((edits, segments, sentence.times))
    delays = metrics.emission_delays(timed)
    computing = np.concatenate([sentence.computing for sentence in reported])
    recorded = float(np.sum(split.frames, dtype=np.float64)) / joints.FPS
    is_stream = window[0] != FULL
    return WindowRow(
        *window,
        wer=counts.wer,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        ref_glosses=counts.ref_glosses,
        delay_median=float(np.median(delays)) if len(delays) else None,
        delay_95=float(np.quantile(delays, 0.95)) if len(delays) else None,
        differing=sum(sentence.ids != offline[sentence.example] for sentence in reported),
        real_time_factor=float(computing.sum()) / recorded if is_stream else None,
        chunk_ms=_percentiles(1000 * computing) if is_stream else None,
    )


def _percentiles(values: np.ndarray) -> tuple[float, float, float]:
    median, most, nearly_all = np.quantile(values, (0.5, 0.95, 0.99)).tolist()
    return median, most, nearly_all

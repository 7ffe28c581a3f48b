import functools
import itertools

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.decode.align import Alignment, align_labels, spans_in_seconds, times_and_confidences

PATCHES, LABELS, VOCAB, ROWS = 6, 3, 4, 4
jitted = jax.jit(align_labels)


def random_log_probs(seed, shape=(ROWS, PATCHES, VOCAB)):
    logits = np.random.default_rng(seed).normal(0, 2, size=shape).astype(np.float32)
    return np.array(jax.nn.log_softmax(logits))  # a copy, to write to


@functools.cache
def paths_to(length):
    """All paths of a length by what they collapse to: labels -> (paths, length)."""
    paths = {}
    for path in itertools.product(range(VOCAB), repeat=length):
        paths.setdefault(tuple(id for id, _ in itertools.groupby(path) if id), []).append(path)
    return {
        labels: np.array(some, int).reshape(len(some), length) for labels, some in paths.items()
    }


def exhaustive(log_probs, labels):
    """The best score and path over all that collapse to the labels; -inf and None where none does."""
    paths = paths_to(len(log_probs)).get(tuple(labels))
    if paths is None:
        return -np.inf, None
    scores = log_probs[np.arange(len(log_probs)), paths].sum(axis=1)
    return scores.max(), paths[scores.argmax()].tolist()


def spans_of(path):
    """(start, end) of every label of a path."""
    start, spans = 0, []
    for id, group in itertools.groupby(path):
        end = start + len(list(group))
        if id:
            spans.append((start, end))
        start = end
    return spans


def as_batch(labels):
    rows = np.zeros((ROWS, LABELS), np.int32)
    for row, some in zip(rows, labels, strict=True):
        row[: len(some)] = some
    return rows, np.array([len(some) for some in labels], np.int32)


label_rows = st.lists(st.integers(1, VOCAB - 1), max_size=LABELS)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(label_rows, min_size=ROWS, max_size=ROWS),
    st.lists(st.integers(0, PATCHES), min_size=ROWS, max_size=ROWS),
)
def test_is_the_best_of_all_paths(seed, labels, lengths):
    log_probs = random_log_probs(seed)
    found = jitted(log_probs, np.array(lengths, np.int32), *as_batch(labels))
    for row, (some, length) in enumerate(zip(labels, lengths, strict=True)):
        score, path = exhaustive(log_probs[row, :length], some)
        starts, ends, confidences = (np.asarray(x[row]) for x in found[:3])
        count = 0 if path is None else len(some)
        assert not starts[count:].any()
        assert not ends[count:].any()
        assert not confidences[count:].any()
        if path is None:
            assert found.scores[row] == -np.inf
            continue
        np.testing.assert_allclose(found.scores[row], score, atol=1e-5)
        spans = list(zip(starts[:count].tolist(), ends[:count].tolist(), strict=True))
        assert spans == spans_of(path)
        highest = [log_probs[row, s:e, id].max() for (s, e), id in zip(spans, some, strict=True)]
        np.testing.assert_allclose(confidences[:count], np.exp(highest), rtol=1e-5)


def test_padding_and_the_other_rows_change_nothing():
    labels = [[1, 1], [2], [3, 1, 2], []]
    lengths = np.array([4, 5, 6, 3], np.int32)
    log_probs = random_log_probs(3)
    rows, counts = as_batch(labels)
    together = jitted(log_probs, lengths, rows, counts)
    for row, (some, length) in enumerate(zip(labels, lengths, strict=True)):
        other = random_log_probs(row + 10, (3, 9, VOCAB))
        other[1, :length] = log_probs[row, :length]
        # Whatever lies beyond is ignored: other labels, and posteriors that are not numbers.
        other[1, length:] = np.nan
        more = np.full((3, 5), 2, np.int32)
        more[1, : len(some)] = some
        alone = jitted(other, np.array([9, length, 0]), more, np.array([5, len(some), 0]))
        for a, b in zip(alone[:3], together[:3], strict=True):
            np.testing.assert_array_equal(a[1, :3], b[row])
            assert not np.asarray(a[1, 3:]).any()
        assert alone.scores[1] == together.scores[row]


def test_a_label_of_probability_zero_has_no_path():
    log_probs = random_log_probs(5, (1, PATCHES, VOCAB))
    log_probs[..., 2] = -np.inf
    impossible = jitted(log_probs, np.array([6]), np.array([[1, 2]]), np.array([2]))
    assert impossible.scores[0] == -np.inf
    assert not any(np.asarray(x).any() for x in impossible[:3])
    possible = jitted(log_probs, np.array([6]), np.array([[1, 3]]), np.array([2]))
    assert np.isfinite(possible.scores[0])


def test_a_path_that_fails_in_its_last_patch_leaves_no_spans():
    log_probs = random_log_probs(6, (1, PATCHES, VOCAB))
    log_probs[:, -1, :3] = -np.inf
    found = jitted(log_probs, np.array([PATCHES]), np.array([[1, 2]]), np.array([2]))
    assert found.scores[0] == -np.inf
    assert not any(np.asarray(x).any() for x in found[:3])


def test_seconds():
    spans = spans_in_seconds(np.array([0, 3]), np.array([2, 15]), patch_size=4)
    np.testing.assert_allclose(spans, [[0, 8 / 60], [0.2, 1.0]])
    assert spans_in_seconds(np.zeros(0, int), np.zeros(0, int), 4).shape == (0, 2)


def test_times_of_a_row_by_hand():
    found = Alignment(
        np.array([[9, 9], [1, 4]]),
        np.array([[9, 9], [3, 10]]),
        np.array([[0.5, 0.5], [0.25, 0.75]]),
        np.array([-np.inf, -1.0]),
    )
    # Of patches of 3 frames, 0.05 s each. Without a path four glosses share ten patches.
    spans, confidences = times_and_confidences(found, 0, 4, 10, 3)
    np.testing.assert_allclose(spans, [[0, 0.125], [0.125, 0.25], [0.25, 0.375], [0.375, 0.5]])
    assert confidences.tolist() == [0.0] * 4
    spans, confidences = times_and_confidences(found, 1, 2, 10, 3)
    np.testing.assert_allclose(spans, [[0.05, 0.15], [0.2, 0.5]])
    assert confidences.tolist() == [0.25, 0.75]
    assert times_and_confidences(found, 1, 1, 10, 3)[0].shape == (1, 2)

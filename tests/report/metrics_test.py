import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.report import metrics
from wsign_jax.report.metrics import (
    Edit,
    EditCounts,
    align_edits,
    bootstrap_wer,
    edit_counts,
    paired_bootstrap,
)

glosses = st.lists(st.integers(1, 4), max_size=8)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], (0, 0, 0)),
        ([1, 2, 3], [1, 4, 3], (1, 0, 0)),
        ([1, 2, 3], [1, 3], (0, 1, 0)),
        ([1, 3], [1, 2, 3], (0, 0, 1)),
        ([1, 1], [1], (0, 1, 0)),
        ([], [2], (0, 0, 1)),
        ([5, 6], [], (0, 2, 0)),
    ],
)
def test_counts_by_kind(reference, hypothesis, expected):
    counts = edit_counts(reference, hypothesis)
    assert (counts.substitutions, counts.deletions, counts.insertions) == expected
    assert counts.ref_glosses == len(reference)


@settings(max_examples=300, deadline=None)
@given(st.lists(glosses, min_size=1, max_size=5), st.data())
def test_wer_is_jiwers(references, data):
    hypotheses = [data.draw(glosses) for _ in references]
    pairs = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r]
    if not pairs:
        return
    counts = sum((edit_counts(r, h) for r, h in pairs), EditCounts())
    texts = [[" ".join(map(str, side)) for side in sides] for sides in zip(*pairs, strict=True)]
    theirs = jiwer.process_words(*texts)
    assert counts.wer == pytest.approx(theirs.wer)
    assert counts.insertions - counts.deletions == theirs.insertions - theirs.deletions


def test_empty_references():
    assert EditCounts().wer == 0.0
    assert edit_counts([], [1]).wer == 1.0
    assert bootstrap_wer([1, 1], [0, 0]) == (2.0, 2.0)


@given(glosses, glosses)
def test_an_alignment_goes_through_both_sequences_in_order(reference, hypothesis):
    edits = align_edits(reference, hypothesis)
    assert [e.reference for e in edits if e.reference is not None] == list(range(len(reference)))
    assert [e.hypothesis for e in edits if e.hypothesis is not None] == list(range(len(hypothesis)))
    for kind, i, j in edits:
        expected = "I" if i is None else "D" if j is None else "CS"[reference[i] != hypothesis[j]]
        assert kind == expected
    assert metrics.count_edits(edits) == edit_counts(reference, hypothesis)


@given(glosses, glosses)
def test_the_other_way_round_deletions_are_insertions(reference, hypothesis):
    there, back = edit_counts(reference, hypothesis), edit_counts(hypothesis, reference)
    assert there.errors == back.errors
    assert there.deletions - there.insertions == back.insertions - back.deletions
    assert (there.errors == 0) == (reference == hypothesis)
    assert there.errors <= max(len(reference), len(hypothesis))


def test_an_alignment_in_full():
    assert align_edits([1, 2, 3, 4], [1, 5, 4, 6]) == [
        Edit("C", 0, 0),
        Edit("S", 1, 1),
        Edit("S", 2, 2),
        Edit("S", 3, 3),
    ]
    assert align_edits([1, 2, 3], [2, 3, 9]) == [
        Edit("D", 0, None),
        Edit("C", 1, 0),
        Edit("C", 2, 1),
        Edit("I", None, 2),
    ]


def test_interval_of_wer():
    rng = np.random.default_rng(1)
    lengths = rng.integers(5, 15, 400)
    errors = rng.binomial(lengths, 0.3)
    low, high = bootstrap_wer(errors, lengths, samples=2000)
    wer = errors.sum() / lengths.sum()
    assert low < wer < high
    # The normal approximation for a ratio of sums.
    deviation = np.std(errors - wer * lengths) * np.sqrt(len(lengths)) / lengths.sum()
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert bootstrap_wer(errors, lengths, 2000) == (low, high)
    assert bootstrap_wer(errors, lengths, 2000, seed=1) != (low, high)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_interval_lies_between_the_best_and_the_worst_sentence(sentences):
    errors, lengths = zip(*sentences, strict=True)
    rates = [error / length for error, length in sentences]
    low, high = bootstrap_wer(errors, lengths, samples=50)
    assert min(rates) - 1e-12 <= low <= high <= max(rates) + 1e-12


def test_comparison_where_one_is_better_in_every_sentence():
    result = paired_bootstrap([1, 2, 0, 1], [2, 3, 1, 2], [10, 10, 10, 10])
    assert result.difference == pytest.approx(-0.1)
    assert (result.low, result.high) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert result.a_better == 1.0


def test_comparison_of_a_system_with_itself():
    same = paired_bootstrap([1, 2, 0], [1, 2, 0], [5, 5, 5])
    assert (same.difference, same.low, same.high, same.a_better) == (0.0, 0.0, 0.0, 0.0)


def test_comparison_swapped_is_the_same_with_the_other_sign():
    rng = np.random.default_rng(2)
    lengths = rng.integers(5, 15, 300)
    a, b = rng.binomial(lengths, 0.30), rng.binomial(lengths, 0.33)
    there, back = paired_bootstrap(a, b, lengths), paired_bootstrap(b, a, lengths)
    assert there.difference == -back.difference == pytest.approx(np.sum(a - b) / np.sum(lengths))
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert 0.98 <= there.a_better + back.a_better <= 1.0  # the rest is as many errors in both


def test_bootstraps_of_nothing():
    with pytest.raises(ValueError, match="needs sentences"):
        bootstrap_wer([], [])
    with pytest.raises(ValueError, match="different numbers of sentences"):
        paired_bootstrap([1, 0], [1], [1, 2])


def test_intersection_over_union():
    a = np.array([[0.0, 2.0], [0.0, 1.0], [1.0, 2.0], [1.0, 1.0], [0.0, 4.0]])
    b = np.array([[1.0, 3.0], [0.0, 1.0], [3.0, 4.0], [1.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(metrics.interval_iou(a, b), [1 / 3, 1.0, 0.0, 0.0, 0.25])


def test_times_of_signs():
    segments = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    spans = np.array([[0.1, 1.0], [1.0, 2.0], [2.2, 3.0], [5.0, 6.0]])
    edits = align_edits([1, 2, 3, 4], [1, 7, 3, 8])
    scores = metrics.segment_scores([(edits, segments, spans)])
    assert (scores.signs, scores.matched) == (4, 2)
    assert scores.iou == pytest.approx((0.9 + 0.8) / 2)
    assert scores.iou_all == pytest.approx((0.9 + 0.8) / 4)
    assert scores.onset_error_ms == pytest.approx(150)
    assert scores.onset_error_ms_median == pytest.approx(150)


def test_delays_are_of_matched_signs_from_their_true_ends():
    segments = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    reported = np.array([1.5, 1.6, 2.0, 2.9, 4.5])
    edits = align_edits([1, 2, 3, 3], [1, 1, 7, 3, 3])  # one 1 too many, 7 for 2
    np.testing.assert_allclose(
        metrics.emission_delays(
            [(edits, segments, reported), (align_edits([1], []), segments[:1], [])]
        ),
        [0.6, -0.1, 0.5],
    )
    assert metrics.emission_delays([]).shape == (0,)


def test_an_early_and_a_late_sign_cancel_in_the_mean_alone():
    segments = np.array([[1.0, 2.0], [3.0, 4.0]])
    spans = segments + np.array([[-0.1], [0.1]])
    scores = metrics.segment_scores([(align_edits([1, 2], [1, 2]), segments, spans)])
    assert scores.onset_error_ms == pytest.approx(0, abs=1e-9)
    assert scores.onset_error_ms_median == pytest.approx(100)


def test_times_where_nothing_was_found_or_known():
    scores = metrics.segment_scores(
        [(align_edits([1], []), np.array([[0.0, 1.0]]), np.empty((0, 2)))]
    )
    assert (scores.signs, scores.matched, scores.iou, scores.iou_all) == (1, 0, None, 0.0)
    assert scores.onset_error_ms is None
    assert metrics.segment_scores([]) is None

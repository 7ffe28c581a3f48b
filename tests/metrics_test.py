import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.metrics import EditCounts, edit_counts

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
    assert edit_counts([], [1]).wer == np.inf

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report.metrics import EditCounts, edit_counts
from wsign_jax.report.tasks import SHOWN, find_task, measures_line, ranking_measures, task_measures

VOCABULARY = Vocabulary(("<blank>", "a", "b", "␣", "fs-a", "HELLO"))


@pytest.mark.parametrize(
    ("references", "task"),
    [
        ([(1,), (4,), (5,)], "single signs"),
        ([(5,), (), (1,)], "single signs"),  # background among them
        ([(1, 3, 2), (1,)], "fingerspelling"),
        ([(1, 2), ()], "fingerspelling"),
        ([(1, 4)], "sentences"),
        ([(1, 2), (5,)], "sentences"),
        ([(), ()], "sentences"),
        ([], "sentences"),
    ],
)
def test_what_the_references_set(references, task):
    assert find_task(references, VOCABULARY) == task
    assert find_task([np.array(r, np.int32) for r in references], VOCABULARY) == task


def test_measures_of_ranks_by_hand():
    """Gloss 1 has four recordings, gloss 7 has one."""
    found = ranking_measures([(1, 1), (1, 1), (1, 2), (1, 10), (7, 5)])
    assert found == {
        "top1": pytest.approx(2 / 5),
        "top5": pytest.approx(4 / 5),
        "top1_per_class": pytest.approx((2 / 4 + 0) / 2),
        "top5_per_class": pytest.approx((3 / 4 + 1) / 2),
        "mean_reciprocal_rank": pytest.approx((1 + 1 + 1 / 2 + 1 / 10 + 1 / 5) / 5),
    }
    assert measures_line({"top1": 0.4, "cer": 0.25}) == "top-1 accuracy 0.4000, CER 0.2500"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=20))
def test_measures_of_ranks_by_plain_formulas(ranked):
    found = ranking_measures(ranked)
    for places in (1, 5):
        assert found[f"top{places}"] == pytest.approx(
            sum(rank <= places for _, rank in ranked) / len(ranked)
        )
        shares = []
        for gloss in {gloss for gloss, _ in ranked}:
            own = [rank <= places for other, rank in ranked if other == gloss]
            shares.append(sum(own) / len(own))
        assert found[f"top{places}_per_class"] == pytest.approx(sum(shares) / len(shares))
    assert found["mean_reciprocal_rank"] == pytest.approx(
        sum(1 / rank for _, rank in ranked) / len(ranked)
    )


words = st.text("ab␣", max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(words.filter(len), words), min_size=1, max_size=5))
def test_the_character_error_rate_is_jiwers(pairs):
    ids = [[[VOCABULARY.ids[c] for c in text] for text in pair] for pair in pairs]
    edits = sum((edit_counts(r, h) for r, h in ids), EditCounts())
    found = task_measures("fingerspelling", edits, [])
    cer = jiwer.cer(*(list(side) for side in zip(*pairs, strict=True)))
    assert found == {"cer": pytest.approx(cer), "edit_score": pytest.approx(1 - cer)}


def test_every_measure_can_be_shown():
    edits = EditCounts(1, 0, 0, 4)
    found = task_measures("single signs", edits, [(1, 1)]) | task_measures(
        "fingerspelling", edits, []
    )
    assert found.keys() == SHOWN.keys()
    assert found["edit_score"] == 0.75
    assert task_measures("sentences", edits, []) == {}

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.decoded import NASTY, VOCABULARY, sentence, sentences
from wsign_jax.common.errors import WSignError
from wsign_jax.report.summary import find_warnings, summarize

ids = st.lists(st.integers(1, 7), max_size=6)


def summary_of(decoded, calibration=None):
    return summarize(decoded, VOCABULARY, {"split": "test"}, {"seconds": 1.5}, calibration)


def test_figures():
    summary = summary_of(sentences())
    assert summary["wer"] == pytest.approx(6 / 14)
    kinds = ("substitutions", "deletions", "insertions", "ref_glosses", "hyp_glosses", "sentences")
    assert [summary[kind] for kind in kinds] == [2, 3, 1, 14, 12, 4]
    assert summary["sentence_accuracy"] == 0.25
    low, high = summary["wer_interval"]
    assert 0 <= low < summary["wer"] < high
    assert summary["blank_rate"] == pytest.approx((4 * 30 - 12) / (4 * 30))
    assert summary["warnings"] == []
    assert (summary["task"], summary["measures"]) == ("sentences", {})
    assert summary["timing"] == {"seconds": 1.5}
    assert summary["settings"] == {"split": "test"}


def test_single_signs_have_measures_of_their_ranks():
    summary = summary_of(
        [sentence("a", (1,), (1,)), sentence("b", (2,), (3,), rank=2), sentence("c", (), ())]
    )
    assert summary["task"] == "single signs"
    assert (summary["measures"]["top1"], summary["measures"]["mean_reciprocal_rank"]) == (0.5, 0.75)


def test_groups():
    summary = summary_of(sentences())
    signers = {row["signer"]: row for row in summary["by_signer"]}
    assert list(signers) == ["S1", "S2"]
    assert signers["S1"]["wer"] == pytest.approx(2 / 8)
    assert signers["S2"]["wer"] == pytest.approx(4 / 6)
    lengths = [(row["glosses"], row["sentences"]) for row in summary["by_length"]]
    assert lengths == [("2-3", 2), ("4-6", 2)]
    assert summary_of([sentence()])["by_signer"] == []


@pytest.mark.parametrize(
    ("glosses", "name"),
    [(0, "0"), (1, "1"), (2, "2-3"), (6, "4-6"), (20, "16-20"), (21, "21+"), (90, "21+")],
)
def test_bins_of_length(glosses, name):
    decoded = sentence(reference=(1,) * glosses, patches=200)
    assert [row["glosses"] for row in summary_of([decoded])["by_length"]] == [name]


def test_glosses_and_confusions():
    summary = summary_of(sentences())
    rows = {row["gloss"]: row for row in summary["by_gloss"]}
    assert rows[NASTY[2]] == {
        "gloss": NASTY[2],
        "reference": 3,
        "correct": 1,
        "substituted": 2,
        "deleted": 0,
        "inserted": 0,
        "substituted_by": {"100%": 2},
    }
    assert rows["100%"]["reference"] == 0
    assert rows["ÜBER"]["inserted"] == 1
    assert rows["日本"]["deleted"] == 2
    assert summary["confusions"] == [{"reference": NASTY[2], "hypothesis": "100%", "count": 2}]
    errors = [row["reference"] - row["correct"] + row["inserted"] for row in summary["by_gloss"]]
    assert errors == sorted(errors, reverse=True)


@given(st.lists(st.tuples(ids.filter(len), ids), min_size=1, max_size=6))
def test_tables_add_up_to_the_totals(pairs):
    decoded = [
        sentence(str(number), tuple(reference), tuple(hypothesis), signer=f"S{number % 2}")
        for number, (reference, hypothesis) in enumerate(pairs)
    ]
    summary = summary_of(decoded)
    for table in (summary["by_signer"], summary["by_length"]):
        for field in ("substitutions", "deletions", "insertions", "ref_glosses", "sentences"):
            assert sum(row[field] for row in table) == summary[field]
    totals = {"substituted": "substitutions", "deleted": "deletions", "inserted": "insertions"}
    for field, total in (totals | {"reference": "ref_glosses"}).items():
        assert sum(row[field] for row in summary["by_gloss"]) == summary[total]
    for row in summary["by_gloss"]:
        assert sum(row["substituted_by"].values()) == row["substituted"]
        assert row["correct"] + row["substituted"] + row["deleted"] == row["reference"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert json.dumps(summary) == json.dumps(summary_of(decoded))


def test_times_are_compared_where_they_are_known():
    summary = summary_of(sentences())
    assert summary["segments"]["signs"] == 3 + 4 + 2
    assert summary["segments"]["matched"] == 6
    assert 0 < summary["segments"]["iou_all"] < summary["segments"]["iou"] < 1
    assert summary["segments"]["onset_error_ms"] is not None
    assert summary_of([sentence(timed=False)])["segments"] is None
    exact = summary_of([sentence()])["segments"]
    assert exact["onset_error_ms"] == pytest.approx(100)
    assert exact["onset_error_ms_median"] == pytest.approx(100)


def collapsed(blanks=30, hypothesis=(), count=6):
    """Sentences of six glosses in thirty patches that come out alike, each reference another."""
    return [
        sentence(str(n), (1 + n % 7, 2, 3, 4, 5, 6), hypothesis, blanks=blanks)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("decoded", "beginning"),
    [
        (collapsed(), "BLANK COLLAPSE: 0 glosses came out where the references have 36"),
        (collapsed(29, (1,)), "BLANK COLLAPSE: 6 glosses came out"),
        (collapsed(29, (1, 2, 3, 4, 5, 6)), "The CTC head is near BLANK COLLAPSE"),
        (collapsed(0, (1,)), "HARDLY ANY GLOSSES: 6 glosses came out where the references have 36"),
        (collapsed(10, (1,) * 14), "FAR TOO MANY GLOSSES: 84 glosses"),
        (collapsed(24, (1, 2, 3, 4)), "ONE ANSWER TO EVERYTHING: all 6 sentences"),
    ],
)
def test_what_makes_the_figures_doubtful_is_said_first(decoded, beginning):
    assert find_warnings(decoded)[0].startswith(beginning)
    assert summary_of(decoded)["warnings"] == find_warnings(decoded)


def test_share_of_blanks_in_a_warning_is_not_rounded_up():
    assert "likeliest in 100 % of all patches" in find_warnings(collapsed())[0]
    assert "likeliest in 99.9 % of all patches" in find_warnings(
        [sentence(patches=3000, blanks=2999, hypothesis=())]
    )[0]  # fmt: skip


def test_a_healthy_head_may_spend_one_patch_in_fifteen():
    rng = np.random.default_rng(0)
    for number in range(20):
        glosses = tuple(rng.integers(1, 8, 12).tolist())
        decoded = sentence(str(number), glosses, glosses[:9], patches=180, blanks=171)
        assert find_warnings([decoded]) == []


def test_two_sentences_may_be_alike():
    assert find_warnings([sentence("a"), sentence("b")]) == []
    assert (
        find_warnings([sentence(str(number)) for number in range(9)]) == []
    )  # so are the references


def test_calibration_and_settings_become_plain():
    bins = [{"confidence": np.float32(0.5), "accuracy": 0.25, "count": np.int64(4)}]
    calibration = {"ece": np.float64(0.1), "bins": bins, "bounds": (np.inf, 2), "per": np.ones(2)}
    summary = summary_of([sentence()], calibration)
    assert summary["calibration"] == {
        "ece": 0.1,
        "bins": [{"confidence": 0.5, "accuracy": 0.25, "count": 4}],
        "bounds": [None, 2],
        "per": [1.0, 1.0],
    }
    json.dumps(summary, allow_nan=False)


def test_what_cannot_be_reported():
    with pytest.raises(
        WSignError, match=r"^no sentences to report on; name a split that has some$"
    ):
        summary_of([])
    with pytest.raises(
        WSignError, match=r"^sentence 'a' is in the split twice; give each its own id$"
    ):
        summary_of([sentence("a"), sentence("a")])
    with pytest.raises(TypeError, match="a report cannot hold"):
        summarize([sentence()], VOCABULARY, {"split": object()}, {}, None)

import pytest

from tests.helpers.decoded import VOCABULARY, sentence
from wsign_jax.common.errors import WSignError
from wsign_jax.report import compare, write
from wsign_jax.report.summary import summarize

REFERENCES = [(1, 2, 3), (4, 4), (5,), (6, 7)]


def decoded(*hypotheses):
    return [
        sentence(f"s{number}", reference, hypothesis)
        for number, (reference, hypothesis) in enumerate(zip(REFERENCES, hypotheses, strict=True))
    ]


@pytest.fixture
def earlier(tmp_path):
    """A report with two errors in eight glosses, names that trn cannot hold among them."""
    sentences = decoded((1, 2), (4, 4), (7,), (6, 7))
    summary = summarize(sentences, VOCABULARY, {}, {}, None)
    write.write_report(tmp_path / "a", sentences, VOCABULARY, summary)
    return tmp_path / "a"


def test_the_difference_to_an_earlier_report(earlier):
    better = decoded((1, 2, 3), (4, 4), (5,), (6,))
    result = compare.compare_reports(better, VOCABULARY, compare.read_report(earlier), earlier)
    assert result["folder"] == str(earlier)
    assert result["wer"] == pytest.approx(2 / 8)
    assert result["difference"] == pytest.approx(-1 / 8)
    assert result["relative"] == pytest.approx(-1 / 2)
    assert result["low"] < 0 < result["high"] and 0.5 < result["a_better"] < 1


def test_a_report_against_itself_shows_no_difference(earlier):
    same = decoded((1, 2), (4, 4), (7,), (6, 7))
    result = compare.compare_reports(same, VOCABULARY, compare.read_report(earlier), earlier)
    assert (result["difference"], result["low"], result["high"], result["a_better"]) == (0, 0, 0, 0)


def test_other_sentences_are_not_compared(earlier):
    for other in (decoded((1,), (), (), ())[:3], [sentence(f"s{n}", (1,), ()) for n in range(4)]):
        with pytest.raises(WSignError, match="a report on other sentences"):
            compare.compare_reports(other, VOCABULARY, compare.read_report(earlier), earlier)


def test_files_that_do_not_go_together_are_named(earlier):
    (earlier / "hyp.trn").write_text("HELLO (s0)\n")
    with pytest.raises(WSignError, match=r"ref\.trn and hyp\.trn are of different sentences"):
        compare.read_report(earlier)

import math

import jax.numpy as jnp
import numpy as np
import pytest

from tests.decode.lm.lookup_test import CORPUS, LABELS, VOCAB, rows_of
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.lm import arpa, lookup, ngrams

VOCABULARY = Vocabulary(("<blank>", "A", "B", "THANK YOU", "D", "1"))
# Order 3 as a toolkit may prune it: no "B A" beside "<s> B A", weights left out where something
# follows and given where nothing does, glosses 4 and 5 absent.
TEXT = """made by hand

\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-99\t<s>\t-0.2
-0.5\t</s>
-0.4\tA\t-0.3
-0.7\tB\t-0.1
-0.9\tTHANK_YOU
-1.5\t<unk>

\\2-grams:
-0.3\t<s> B\t-0.25
-0.2\tA </s>\t-0.4
-0.6\tA A
-0.8\tA <unk>

\\3-grams:
-0.05\t<s> B A
-0.45\tA A B

\\end\\
"""


def write(folder, text):
    path = folder / "glosses.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def by_the_book(probs, weights, context, label):
    """log10 P by back-off over dictionaries of tuples; 'start' begins a context, 0 ends."""
    if (*context, label) in probs:
        return probs[(*context, label)]
    return weights.get(context, 0.0) + by_the_book(probs, weights, context[1:], label)


def test_a_file_of_a_toolkit(tmp_path, capsys):
    s = "start"
    probs = {(0,): -0.5, (1,): -0.4, (2,): -0.7, (3,): -0.9, (4,): -1.5, (5,): -1.5}
    probs |= {(s, 2): -0.3, (1, 0): -0.2, (1, 1): -0.6, (s, 2, 1): -0.05, (1, 1, 2): -0.45}
    weights = {(s,): -0.2, (1,): -0.3, (2,): -0.1, (s, 2): -0.25}
    model = lookup.prepare_lm(arpa.read_arpa(write(tmp_path, TEXT), VOCABULARY))
    warning = capsys.readouterr().out
    assert "glosses.arpa: 2 of 5 glosses are not in it (D, 1); they get the probability" in warning
    assert "of <unk>" in warning
    after = model.advance(model.advance(model.start, jnp.int32(1)), jnp.int32(0))
    assert after == model.start  # though the file gives "A </s>" a weight
    for sentence in ([2, 1, 1, 2], [1, 1, 1, 2, 1], [4, 3, 2, 1], [2, 2, 1, 0]):
        rows = rows_of(model, sentence)
        np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1.0, atol=2e-6)
        for place in range(len(sentence)):
            context = (s, *sentence[:place])[-2:]
            expected = [by_the_book(probs, weights, context, int(w)) for w in LABELS]
            expected = np.array(expected) * math.log(10)
            expected -= np.log(np.exp(expected).sum())
            np.testing.assert_allclose(rows[place], expected, atol=2e-6)


def test_without_unk_missing_glosses_are_as_the_least_likely(tmp_path, capsys):
    text = TEXT.replace("-1.5\t<unk>\n", "").replace("-0.8\tA <unk>\n", "")
    text = text.replace("1=6", "1=5").replace("2=4", "2=3")
    probs = arpa.read_arpa(write(tmp_path, text), VOCABULARY).log_probs
    assert [probs[id,] for id in (3, 4, 5)] == pytest.approx([-0.9 * math.log(10)] * 3)
    assert "the probability of its least likely word" in capsys.readouterr().out


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_fitted_model_can_be_kept(tmp_path, order):
    fitted = ngrams.estimate_ngrams(CORPUS, order, VOCAB)
    path = tmp_path / "new" / "glosses.arpa"
    arpa.write_arpa(path, fitted, VOCABULARY)
    kept = arpa.read_arpa(path, VOCABULARY)
    assert kept.log_probs == pytest.approx(fitted.log_probs, abs=1e-6)
    weights = {gram: 0.0 for gram in kept.backoffs} | fitted.backoffs
    assert kept.backoffs == pytest.approx(weights, abs=1e-6)
    assert [other.name for other in path.parent.iterdir()] == ["glosses.arpa"]


@pytest.mark.parametrize(
    ("count", "message"),
    [("9" * 18, "6 1-grams before it, and the header says 999999999"), ("9" * 5000, "correct it$")],
    ids=["huge", "endless"],
)
def test_a_count_that_is_no_count_is_named(tmp_path, count, message):
    with pytest.raises(WSignError, match=message) as error:
        arpa.read_arpa(write(tmp_path, TEXT.replace("ngram 1=6", f"ngram 1={count}")), VOCABULARY)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_file_cut_off_anywhere_is_an_error(tmp_path, order):
    path = tmp_path / "whole.arpa"
    arpa.write_arpa(path, ngrams.estimate_ngrams(CORPUS, order, VOCAB), VOCABULARY)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for count in range(len(lines)):
        cut = write(tmp_path, "".join(lines[:count]))
        with pytest.raises(
            WSignError, match=r"glosses.arpa, line \d+: .*(cut off|no .data. up to)"
        ):
            arpa.read_arpa(cut, VOCABULARY)
    for end in range(len(text) - len("\n")):
        with pytest.raises(WSignError, match=r"glosses.arpa, line \d+: "):
            arpa.read_arpa(write(tmp_path, text[:end]), VOCABULARY)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", r"line 27: no \\data\\ up to here"),
        ("ngram 1=6", "ngram 1=six", "line 4: 'ngram 1=six' where 'ngram 1=COUNT' belongs"),
        ("ngram 2=4", "ngram 3=4", "line 5: 'ngram 3=4' where 'ngram 2=COUNT' belongs"),
        ("ngram 1=6\nngram 2=4\nngram 3=2\n", "", "line 5: no 'ngram 1=COUNT' before it"),
        ("ngram 2=4", "ngram 2=5", "line 22: 4 2-grams before it, and the header says 5"),
        ("ngram 3=2\n", "", "line 16: 4 columns; give a log probability, 2 glosses$"),
        ("\\2-grams:", "\\4-grams:", r"line 16: '\\\\4-grams:' where \\2-grams: belongs"),
        ("\\end\\", "\\4-grams:", r"line 26: '\\\\4-grams:' where \\end\\ belongs"),
        ("\\end\\", "\\end\\\nngram", r"line 27: there is more after \\end\\"),
        ("-0.4\tA\t-0.3", "-0.4x\tA\t-0.3", "line 11: '-0.4x' is not a number; correct it"),
        ("-0.4\tA\t-0.3", "-0.4\tA\tB", "line 11: 'B' is not a number; correct it"),
        ("-0.4\tA\t-0.3", "nan\tA\t-0.3", "line 11: 'nan' is not a log10 up to 0"),
        ("-0.4\tA\t-0.3", "0.4\tA\t-0.3", "line 11: '0.4' is not a log10 up to 0"),
        ("-0.4\tA\t-0.3", "-0.4\tA\tinf", "line 11: 'inf' is not a log10 up to 99"),
        ("-0.4\tA\t-0.3", "-0.4", "line 11: 1 columns; give .*, 1 gloss and perhaps a back-off"),
        ("-0.3\t<s> B\t-0.25", "-0.3\t<s> B A A", "line 17: 5 columns; give .*, 2 glosses and"),
        ("-0.45\tA A B", "-0.45\tA A B\t-0.1", "line 24: 5 columns; give .*, 3 glosses$"),
        ("-0.6\tA A", "-0.6\tA </s>", "line 19: 'A </s>' is in the file twice; keep one"),
        ("-0.2\tA </s>", "-0.2\tA D", "line 18: 'D' is not among the 1-grams"),
        ("-0.2\tA </s>", "-0.2\tA <s>", "line 18: <s> only begins, </s> only ends an n-gram"),
        ("-0.2\tA </s>", "-0.2\t</s> A", "line 18: <s> only begins, </s> only ends an n-gram"),
        ("A A B", "B A B", "line 24: 'B A' is not among the 2-grams; make the file again"),
        ("-0.5\t</s>", "-0.5\tD", "no </s> among the 1-grams"),
        ("-0.7\tB", "-0.7\tX", r"line 12: 1 of 6 words are not in the vocabulary \(X\); take the"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, old, new, message):
    assert TEXT.count(old) == 1
    with pytest.raises(WSignError, match=message) as error:
        arpa.read_arpa(write(tmp_path, TEXT.replace(old, new)), VOCABULARY)
    assert str(error.value).startswith(str(tmp_path / "glosses.arpa, line "))
    assert "\n" not in str(error.value)


def test_no_such_file_and_no_text(tmp_path):
    with pytest.raises(WSignError, match=r"none\.arpa: no such file; name an ARPA file"):
        arpa.read_arpa(tmp_path / "none.arpa", VOCABULARY)
    (tmp_path / "binary.arpa").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WSignError, match=r"binary\.arpa: not UTF-8 text"):
        arpa.read_arpa(tmp_path / "binary.arpa", VOCABULARY)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("A", "B"), "has 6 labels and the vocabulary 3; take the label_map.json"),
        (("A B", "A_B", "C", "D", "E"), "the gloss 'A_B' is 'A B' too in an ARPA file; rename it"),
        (("A", "B", "C", "D", "<s>"), "the gloss '<s>' is '<s>' too in an ARPA file; rename it"),
    ],
)
def test_names_that_do_not_fit(tmp_path, names, message):
    fitted = ngrams.estimate_ngrams(CORPUS, 2, VOCAB)
    with pytest.raises(WSignError, match=message):
        arpa.write_arpa(tmp_path / "a.arpa", fitted, Vocabulary(("<blank>", *names)))
    assert not list(tmp_path.iterdir())

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.decoded import VOCABULARY, sentence, sentences
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report import files
from wsign_jax.report.metrics import EditCounts, edit_counts

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
gloss_names = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=6).filter(
    str.strip
)


@given(names)
def test_any_name_can_be_escaped_and_read_back(name):
    word = files.escape_name(name)
    assert files.unescape_name(word) == name
    assert word.split() == [word]
    assert not set(word) & set("(){}<>[]/@;*\"'\\")


def test_plain_names_stay_as_they_are():
    for name in (
        "HELLO",
        "loc-WEST",
        "ÜBER",
        "E+R+Z",
        "__ON__",
        "WIE-AUSSEHEN",
        "日本",
        "fs-a",
        "S0NNE",
    ):
        assert files.escape_name(name) == name
    assert files.escape_name("TWO WORDS (x)") == "TWO%20WORDS%20%28x%29"


@given(st.data())
def test_trn_gives_the_same_error_rate_back(tmp_path_factory, data):
    glosses = data.draw(st.lists(gloss_names, min_size=2, max_size=6, unique=True))
    vocabulary = Vocabulary(("<blank>", *(name for name in glosses if name != "<blank>")))
    ids = st.lists(st.integers(1, len(vocabulary) - 1), max_size=5)
    pairs = data.draw(
        st.dictionaries(names, st.tuples(ids.filter(len), ids), min_size=1, max_size=5)
    )
    folder = tmp_path_factory.mktemp("trn")
    for number, name in enumerate(("ref.trn", "hyp.trn")):
        rows = ((id, vocabulary.glosses(pair[number])) for id, pair in pairs.items())
        (folder / name).write_bytes(files.trn_content(rows).encode())
    references, hypotheses = (files.read_trn(folder / name) for name in ("ref.trn", "hyp.trn"))
    assert list(references) == list(hypotheses) == list(pairs)
    read = EditCounts()
    for id, reference in references.items():
        sides = (reference, hypotheses[id])
        read += edit_counts(*([vocabulary.ids[gloss] for gloss in side] for side in sides))
    assert read == sum((edit_counts(*pair) for pair in pairs.values()), EditCounts())


def test_trn_as_sclite_reads_it():
    decoded = sentence("s 1", (1, 3, 7), ())
    rows = [
        (decoded.id, VOCABULARY.glosses(ids)) for ids in (decoded.reference, decoded.hypothesis)
    ]
    assert files.trn_content(rows[:1]) == "HELLO TWO%20WORDS 日本 (s%201)\n"
    assert files.trn_content(rows[1:]) == "(s%201)\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A B (x)\nC D\n", r"ref\.trn, line 2: must be 'GLOSS GLOSS \(id\)'; add the \(id\)$"),
        ("A B(x)\n", r"ref\.trn, line 1: must be"),
        ("A ()\n", r"ref\.trn, line 1: must be"),
        ("A (x)\n\nB (x)\n", r"ref\.trn, line 3: id 'x' was there before; keep one of them$"),
        (b"\xdcBER (x)\n", r"ref\.trn: not UTF-8 text \(.*\); save it as UTF-8$"),
    ],
)
def test_a_broken_trn_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "ref.trn"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WSignError, match=message):
        files.read_trn(path)


def test_trn_of_other_programs(tmp_path):
    path = tmp_path / "x.trn"
    path.write_bytes(b"A  B (x)\r\n(y)\r\n  C (z)\n\n")
    assert files.read_trn(path) == {"x": ["A", "B"], "y": [], "z": ["C"]}


def test_ctm():
    decoded = [sentence("a", (1,), (1, 4), patches=30), sentence("b", (1,), ())]
    assert files.ctm_content(decoded, VOCABULARY) == (
        "a 1 0.100 0.900 HELLO\na 1 1.100 0.900 %28a%29\nb 1 0.000 0.000 [EMPTY]\n"
    )


def test_a_gloss_called_empty_is_no_empty_sentence():
    vocabulary = Vocabulary(("<blank>", "[EMPTY]"))
    assert files.EMPTY not in files.ctm_content([sentence("a", (1,), (1,))], vocabulary)


def test_json_lines():
    lines = files.hypotheses_jsonl(sentences(), VOCABULARY).splitlines()
    assert len(lines) == 4
    row = json.loads(lines[1])
    assert row["id"] == "b 2"
    assert row["reference"] == ["HELLO", "<script>alert(1)</script>", "TWO WORDS", "(a)"]
    assert row["hypothesis"] == ["HELLO", "100%", "TWO WORDS", "(a)", "ÜBER"]
    assert row["edits"][1] == ["S", "<script>alert(1)</script>", "100%"]
    assert row["edits"][4] == ["I", None, "ÜBER"]
    assert row["times"][0] == [0.1, 0.4]
    assert row["confidences"] == [0.5, 0.625, 0.75, 0.875, 1.0]
    assert json.loads(lines[2])["hypothesis"] == json.loads(lines[2])["times"] == []

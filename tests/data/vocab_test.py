import json

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary, read_vocabulary, translate_labels


def write(root, mapping):
    (root / "label_map.json").write_text(
        mapping if isinstance(mapping, str) else json.dumps(mapping)
    )


def test_names_by_id(tmp_path):
    write(tmp_path, {"<blank>": 0, "WORLD": 2, "HELLO": 1})
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.names == ("<blank>", "HELLO", "WORLD")
    assert vocabulary.ids["WORLD"] == 2
    assert vocabulary.glosses([2, 1, 2]) == ["WORLD", "HELLO", "WORLD"]


def test_a_larger_vocabulary_than_needed_is_allowed(tmp_path):
    write(tmp_path, {"<blank>": 0, "A": 3})
    assert read_vocabulary(tmp_path, 5).names == (
        "<blank>", "<unused-1>", "<unused-2>", "A", "<unused-4>"
    )  # fmt: skip


def test_without_a_file_glosses_are_named_by_their_ids(tmp_path):
    assert read_vocabulary(tmp_path, 3).names == ("<blank>", "GLOSS-1", "GLOSS-2")


@pytest.mark.parametrize(
    ("mapping", "vocab_size", "message"),
    [
        ("{", 0, "not valid JSON"),
        ("[1]", 0, "must be an object"),
        ('{"<blank>": 0, "A": 1, "A": 2}', 0, "'A' is in it twice"),
        ({"<blank>": 0, "A": 300_000_000}, 0, "give a whole number, 0 to 999999"),
        ({"A": 1}, 0, 'add "<blank>": 0'),
        ({"A": 0}, 0, 'id 0 belongs to "<blank>"'),
        ({"<blank>": 0, "A": 1, "B": 1}, 0, "'A' and 'B' share the id 1"),
        ({"<blank>": 0, "A": "1"}, 0, "the id of 'A' is '1'"),
        ({"<blank>": 0, "A": -1}, 0, "the id of 'A' is -1"),
        ({"<blank>": 0, "\ud800X": 1}, 0, r"gloss '\\ud800X' is not UTF-8 text; rename it"),
        ({"<blank>": 0, "A\nB": 1}, 0, r"gloss 'A\\nB' has a line break or a control char"),
        ({"<blank>": 0, "\x1b[31mA": 1}, 0, "has a line break or a control character"),
        ({"<blank>": 0, " ": 1}, 0, "gloss ' ' is empty; give it a name"),
        ({"<blank>": 0, "A": 999_999}, 0, "'A' has the id 999999, but there are 2 names; number"),
        ({"<blank>": 0, "<unused-2>": 3}, 0, "gloss '<unused-2>' has two ids; keep one"),
        ('{"<blank>": ' + "[" * 100_000, 0, "nested too deep"),
        ('{"<blank>": 0, "A": ' + "9" * 5000 + "}", 0, "not valid JSON"),
        ({}, 0, 'add "<blank>": 0'),
        ({"<blank>": 0, "A": 7}, 4, "config.model.vocab_size is 4, but .* needs 8"),
    ],
)
def test_a_bad_label_map_is_named(tmp_path, mapping, vocab_size, message):
    write(tmp_path, mapping)
    with pytest.raises(WSignError, match=message) as error:
        read_vocabulary(tmp_path, vocab_size)
    assert "label_map.json" in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), 'id 0 belongs to "<blank>"'),
        (("A",), 'id 0 belongs to "<blank>"'),
        (("<blank>", 3), "gloss 3 is not text"),
        (("<blank>", "A", "A"), "gloss 'A' has two ids"),
        (("<blank>", "A\tB"), "has a line break or a control character"),
    ],
)
def test_names_from_anywhere_are_checked(names, message):
    with pytest.raises(WSignError, match=message):
        Vocabulary(names)


def test_a_missing_label_map_says_what_to_write(tmp_path):
    with pytest.raises(WSignError, match="no such file; write"):
        read_vocabulary(tmp_path)


def test_labels_are_translated_by_the_glosses_names():
    ours = Vocabulary(("<blank>", "B", "A", "C"))
    theirs = Vocabulary(("<blank>", "A", "X", "B"))
    labels = [np.array([1, 2, 2]), np.zeros(0, np.int32)]
    translated = translate_labels(labels, ours, theirs, "val")
    assert [ids.tolist() for ids in translated] == [[3, 1, 1], []], "C is in no recording"
    with pytest.raises(WSignError, match=r"^val: the model does not know 'C'; leave these"):
        translate_labels([np.array([1, 3])], ours, theirs, "val")

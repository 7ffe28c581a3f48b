import pytest

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError


def test_broken_lines_are_named_and_spoil_no_other(tmp_path):
    path = tmp_path / "a table.csv"
    path.write_text('\n id , what\n1, "a, b"\n2\n\n"3,x\n4,é,\n5,"y"z\n6,last', encoding="utf-8")
    rows, problems = tables.read_table(path, ("id",))
    assert [(row.where, row.fields) for row in rows] == [
        (f"{path}:9", {"id": "6", "what": "last"}),
    ]
    assert problems[0] == f"{path}:3: 3 fields, but the header has 2"  # a space before the quote
    assert problems[1] == f"{path}:4: 1 fields, but the header has 2"
    assert problems[2] == f"{path}:6: broken line (unexpected end of data)"
    assert problems[3] == f"{path}:7: 3 fields, but the header has 2"
    assert problems[4].startswith(f"{path}:8: broken line (")


def test_only_commas_know_quotes(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text('id|text\r\n1|he said "no\r\n', encoding="utf-8")
    rows, problems = tables.read_table(path, ("id", "text"), delimiter="|")
    assert rows[0].fields == {"id": "1", "text": 'he said "no'} and not problems


def test_a_table_that_is_none_is_an_error(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(WSignError, match=r"t\.csv: no such file"):
        tables.read_table(path, ("id",))
    path.write_text("\n")
    with pytest.raises(WSignError, match=r"t\.csv: empty; its header must have id, signer"):
        tables.read_table(path, ("id", "signer"))
    path.write_text("id,sign\n")
    with pytest.raises(WSignError, match=r"t\.csv:1: the header is 'id,sign'; it must have signer"):
        tables.read_table(path, ("id", "signer"))
    path.write_text("id;signer\n")  # as a German Excel writes it
    with pytest.raises(WSignError, match="it must have id, signer, separated by ','"):
        tables.read_table(path, ("id", "signer"))
    path.write_bytes(b"id\n\xff\n")
    with pytest.raises(WSignError, match=r"t\.csv: not UTF-8 text"):
        tables.read_table(path, ("id",))

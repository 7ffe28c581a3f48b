import json

import pytest

from tests.helpers.decoded import VOCABULARY, sentences
from wsign_jax.common.errors import WSignError
from wsign_jax.report import files, write
from wsign_jax.report.metrics import EditCounts, edit_counts
from wsign_jax.report.summary import summarize


def write_report(folder, decoded, **options):
    summary = summarize(decoded, VOCABULARY, {"split": "test"}, {}, None)
    write.write_report(folder, decoded, VOCABULARY, summary, **options)
    return summary


def test_a_report_is_read_back(tmp_path):
    folder = tmp_path / "new" / "report"
    summary = write_report(folder, sentences())
    assert sorted(path.name for path in folder.iterdir()) == sorted(write.NAMES)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == summary
    references = files.read_trn(folder / "ref.trn")
    hypotheses = files.read_trn(folder / "hyp.trn")
    edits = EditCounts()
    for id, reference in references.items():
        sides = (reference, hypotheses[id])
        edits += edit_counts(*([VOCABULARY.ids[name] for name in side] for side in sides))
    assert edits.wer == summary["wer"]
    assert (edits.substitutions, edits.deletions) == (
        summary["substitutions"],
        summary["deletions"],
    )


def test_the_same_report_has_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_report(tmp_path / name, sentences())
    for name in write.NAMES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", write.NAMES)
def test_no_report_is_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        WSignError, match=rf"{name}: there is a report already; name another folder"
    ):
        write_report(tmp_path, sentences())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_report_is_replaced_where_that_is_asked_for(tmp_path):
    write_report(tmp_path, sentences())
    summary = write_report(tmp_path, sentences()[:2], replace=True)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == summary
    assert len(files.read_trn(tmp_path / "hyp.trn")) == 2


def test_half_a_report_has_no_report_json(tmp_path, monkeypatch):
    write_report(tmp_path, sentences())
    monkeypatch.setattr("wsign_jax.common.files.write", lambda path, content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, sentences(), replace=True)
    assert not (tmp_path / "report.json").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(WSignError, match=r"out: is a file; name a folder for the report$"):
        write_report(tmp_path / "out", sentences())

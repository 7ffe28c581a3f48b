"""Writes a whole report into a folder."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report.files import ctm_content, hypotheses_jsonl, trn_content
from wsign_jax.report.page import report_page
from wsign_jax.report.sentences import Sentence

SUMMARY = "report.json"
NAMES = (SUMMARY, "report.html", "hypotheses.jsonl", "ref.trn", "hyp.trn", "hyp.ctm")


def check_report_folder(folder: pathlib.Path, replace: bool = False) -> None:
    """Refuses a folder that a report cannot be written to; called before decoding starts.

    Raises:
        IsADirectoryError: one of `NAMES` is a folder.
        WSignError: it has a file with one of `NAMES`, is not a folder, or cannot be written to.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise WSignError(f"{place}: is a file; name a folder for the report")
    for name in NAMES:
        files.check_writable(folder / name)
        if (folder / name).exists() and not replace:
            raise WSignError(
                f"{folder / name}: there is a report already; name another folder (--out), or "
                "replace it (--replace)"
            )


def write_report(
    folder: pathlib.Path,
    sentences: Sequence[Sentence],
    vocabulary: Vocabulary,
    summary: Mapping[str, Any],
    replace: bool = False,
) -> None:
    """Writes `NAMES` into a folder, which is made if it is missing.

    Every file is whole or missing. `report.json` is written last, and an old one is deleted first. So if
    it exists, all other files belong to it.

    Raises:
        WSignError: `check_report_folder` refuses the folder.
    """
    check_report_folder(folder, replace)
    texts = {
        "report.html": report_page(sentences, vocabulary, summary),
        "hypotheses.jsonl": hypotheses_jsonl(sentences, vocabulary),
        "ref.trn": trn_content((s.id, vocabulary.glosses(s.reference)) for s in sentences),
        "hyp.trn": trn_content((s.id, vocabulary.glosses(s.hypothesis)) for s in sentences),
        "hyp.ctm": ctm_content(sentences, vocabulary),
    }
    (folder / SUMMARY).unlink(missing_ok=True)
    for name, text in texts.items():
        files.write(folder / name, text.encode(errors="backslashreplace"))
    files.write_json(folder / SUMMARY, dict(summary))

"""Compares a report with an earlier one on the same sentences."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report import files, metrics
from wsign_jax.report.sentences import Sentence

Pairs = dict[str, tuple[list[str], list[str]]]


def read_report(folder: pathlib.Path) -> Pairs:
    """Reads reference and hypothesis of every sentence of a report, by id.

    Raises:
        WSignError: the report is missing, or its files do not go together.
    """
    references, hypotheses = (files.read_trn(folder / name) for name in ("ref.trn", "hyp.trn"))
    if references.keys() != hypotheses.keys():
        raise WSignError(
            f"{folder}: ref.trn and hyp.trn are of different sentences; evaluate again"
        )
    return {id: (references[id], hypotheses[id]) for id in references}


def compare_reports(
    sentences: Sequence[Sentence], vocabulary: Vocabulary, earlier: Pairs, folder: pathlib.Path
) -> dict[str, Any]:
    """Returns the difference in WER, with its 95 % interval over resampled sentences.

    Returns:
        folder, wer, relative, and the fields of `metrics.Comparison`; below 0 the new report is better.

    Raises:
        WSignError: the earlier report has other sentences or other references.
    """
    same = {s.id: vocabulary.glosses(s.reference) for s in sentences}
    if same != {id: reference for id, (reference, _) in earlier.items()}:
        raise WSignError(
            f"{folder}: a report on other sentences; compare on the same split and data"
        )
    numbers: dict[str, int] = {}  # an alignment needs ids, and the earlier run's may differ

    def as_ids(glosses: Sequence[str]) -> list[int]:
        return [numbers.setdefault(gloss, len(numbers)) for gloss in glosses]

    before = [metrics.edit_counts(*map(as_ids, earlier[s.id])) for s in sentences]
    now = [s.counts for s in sentences]
    comparison = metrics.paired_bootstrap(
        [c.errors for c in now], [c.errors for c in before], [c.ref_glosses for c in now]
    )
    wer = sum(before, metrics.EditCounts()).wer
    return {
        "folder": str(folder),
        "wer": wer,
        "relative": comparison.difference / wer if wer else None,
        **dataclasses.asdict(comparison),
    }

"""Cross-validation: trains a config on one fold after the other, and reports on all examples at once."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from wsign_jax.data import folds
from wsign_jax.data.folds import Fold
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.evaluate import evaluate
from wsign_jax.evaluate.decoder_settings import choose_settings
from wsign_jax.evaluate.trained_run import open_run, read_split
from wsign_jax.report import compare, metrics, summary
from wsign_jax.report.sentences import Sentence
from wsign_jax.train import loop


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """The test of one fold."""

    fold: Fold
    sentences: list[Sentence]
    unseen: tuple[str, ...]  # glosses that the test has and the training lacks
    # Of the sentences without such glosses; None if there is no gloss in them.
    seen_wer: float | None

    @property
    def counts(self) -> metrics.EditCounts:
        """The errors of all its sentences."""
        return sum((s.counts for s in self.sentences), metrics.EditCounts())


def train_folds(
    config: ConfigDict, root: pathlib.Path, parts: Sequence[Fold], out: pathlib.Path
) -> tuple[list[FoldResult], Vocabulary] | None:
    """Trains and tests on each fold; goes on where an earlier call ended.

    The first fold has its data set in `out/fold_1/data` and its run in `out/fold_1/run`.

    Returns:
        The results and the vocabulary, or None if a signal ended a training, whose state is saved.

    Raises:
        WSignError: the data is bad, or `out` holds runs of other settings or folds.
    """
    results, vocabulary = [], None
    for number, fold in enumerate(parts, 1):
        folder = out / f"fold_{number}"  # a group's name may not be one of a folder
        folds.write_fold(root, fold, folder / "data")
        own = config.copy_and_resolve_references()
        own.data.dir = str(folder / "data")
        if own.checkpoint.mirror:
            own.checkpoint.mirror = str(pathlib.Path(own.checkpoint.mirror) / folder.name)
        print(
            f"fold {number} of {len(parts)}, {fold.name}: {len(fold.train)} examples train, "
            f"{len(fold.val)} validate, {len(fold.test)} test",
            flush=True,
        )
        if not loop.train(own, folder / "run"):
            return None
        trained = open_run(folder / "run", own, own.eval.average)
        vocabulary = trained.vocabulary
        settings = choose_settings(trained, own.eval.decoder, own.eval.lm, own.eval.beam_size)
        split = read_split(trained, folder / "data", "test")
        sentences, _ = evaluate.evaluate_split(trained, folder / "data", split, settings)
        results.append(_result(fold, sentences, folds.unseen_glosses(root, fold), vocabulary))
        print(_line(results[-1]), flush=True)
    assert vocabulary is not None, "there are no folds"
    return results, vocabulary


def _result(
    fold: Fold, sentences: list[Sentence], unseen: set[int], vocabulary: Vocabulary
) -> FoldResult:
    seen = sum((s.counts for s in sentences if not unseen & {*s.reference}), metrics.EditCounts())
    return FoldResult(
        fold,
        sentences,
        tuple(vocabulary.names[id] for id in sorted(unseen)),
        seen.wer if seen.ref_glosses else None,
    )


def _line(result: FoldResult) -> str:
    line = f"{result.fold.name}: WER {result.counts.wer:.4f} of {len(result.sentences)} sentences"
    if result.unseen:
        rest = "no others" if result.seen_wer is None else f"{result.seen_wer:.4f} on the others"
        line += f"; its training lacks {', '.join(result.unseen)}: {rest}"
    return line


def summarize_folds(
    results: Sequence[FoldResult],
    vocabulary: Vocabulary,
    settings: dict[str, Any],
    earlier: tuple[compare.Pairs, pathlib.Path] | None = None,
) -> tuple[list[Sentence], dict[str, Any]]:
    """Summarizes all folds as one report, with a row a fold in `folds`.

    `earlier` is another recipe's report on the same examples, and its folder.

    Returns:
        All sentences, and the content of `report.json`.

    Raises:
        WSignError: the earlier report is on other sentences.
    """
    sentences = sorted((s for r in results for s in r.sentences), key=lambda s: s.id)
    report = summary.summarize(sentences, vocabulary, settings, timing={}, calibration=None)
    rates = np.array([result.counts.wer for result in results])
    report["folds"] = {
        "mean": float(rates.mean()),
        "spread": float(rates.std(ddof=1)),
        "rows": [
            {
                "fold": result.fold.name,
                "wer": result.counts.wer,
                "sentences": len(result.sentences),
                "unseen_glosses": list(result.unseen),
                "wer_without_unseen": result.seen_wer,
            }
            for result in results
        ],
    }
    if earlier is not None:
        report["against"] = compare.compare_reports(sentences, vocabulary, *earlier)
    return sentences, report


def print_folds(report: dict[str, Any]) -> None:
    """Prints a line a fold, the mean and the spread, and how they compare with another recipe's."""
    width = max(len(row["fold"]) for row in report["folds"]["rows"])
    for row in report["folds"]["rows"]:
        print(f"{row['fold']:{width}}  {row['wer']:.4f}  {row['sentences']} sentences")
    print(
        f"mean WER {report['folds']['mean']:.4f}, standard deviation over the folds "
        f"{report['folds']['spread']:.4f}"
    )
    evaluate.print_summary(report)

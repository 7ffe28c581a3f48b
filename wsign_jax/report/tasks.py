"""The task that a split sets, and the measures that others judge it by, besides the WER. Numpy only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report.metrics import EditCounts

Task = Literal["single signs", "fingerspelling", "sentences"]

# How a measure is shown, and what it is.
SHOWN: Mapping[str, tuple[str, str]] = {
    "top1": ("top-1 accuracy", "recordings whose sign is CTC's likeliest"),
    "top5": ("top-5 accuracy", "recordings whose sign is among CTC's five likeliest"),
    "top1_per_class": ("top-1 per class", "mean over glosses of their accuracy"),
    "top5_per_class": ("top-5 per class", "mean over glosses of their accuracy"),
    "mean_reciprocal_rank": ("mean reciprocal rank", "1 for a sign that is first, 1/2 for second"),
    "cer": ("CER", "errors divided by characters"),
    "edit_score": ("1 - edit distance", "(N - D) / N for N characters and D errors"),
}


def find_task(references: Sequence[Collection[int]], vocabulary: Vocabulary) -> Task:
    """Returns the task that the references (U,) of a split set.

    Single signs: each has one gloss, or none in background. Fingerspelling: all of their glosses are
    single characters. Sentences: all else, and background alone.
    """
    longest = max(map(len, references), default=0)
    if longest == 1:
        return "single signs"
    ids = {id for reference in references for id in reference}
    if ids and all(len(name) == 1 for name in vocabulary.glosses(ids)):
        return "fingerspelling"
    return "sentences"


def task_measures(
    task: Task, edits: EditCounts, ranked: Iterable[tuple[int, int]]
) -> dict[str, float]:
    """Returns the task's measures, by the names in `SHOWN` and in their order; none for sentences.

    `edits` are those of the whole split. `ranked` are the gloss of each recording of a single sign, and
    its place among all glosses; other tasks do not read it.
    """
    if task == "single signs":
        return ranking_measures(ranked)
    if task == "fingerspelling":  # a gloss is a character
        return {"cer": edits.wer, "edit_score": 1 - edits.wer}
    return {}


def ranking_measures(ranked: Iterable[tuple[int, int]]) -> dict[str, float]:
    """Returns the measures of single signs, from one or more glosses and their places, 1 the first.

    Top-1 and top-5 accuracy, over recordings and as the mean over glosses, are those of MS-ASL (Joze
    and Koller 2019, arXiv:1812.01053).
    """
    glosses, ranks = np.asarray(list(ranked), np.int64).reshape(-1, 2).T
    _, classes, counts = np.unique(glosses, return_inverse=True, return_counts=True)
    hits = {places: ranks <= places for places in (1, 5)}
    overall = {f"top{places}": float(hit.mean()) for places, hit in hits.items()}
    per_class = {
        f"top{places}_per_class": float(np.mean(np.bincount(classes, hit) / counts))
        for places, hit in hits.items()
    }
    return overall | per_class | {"mean_reciprocal_rank": float(np.mean(1 / ranks))}


def measures_line(measures: Mapping[str, float]) -> str:
    """Returns the measures in words, for example 'top-1 accuracy 0.9000, top-5 accuracy 1.0000'."""
    return ", ".join(f"{SHOWN[name][0]} {value:.4f}" for name, value in measures.items())

"""Word error rate: edit distance between gloss sequences, counted by kind of error. Numpy only."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class EditCounts:
    """Errors of one sentence, or the sum over many."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    ref_glosses: int = 0

    def __add__(self, other: "EditCounts") -> "EditCounts":
        return EditCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.ref_glosses + other.ref_glosses,
        )

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors over reference glosses; infinite for errors against an empty reference."""
        if self.ref_glosses == 0:
            return float("inf") if self.errors else 0.0
        return self.errors / self.ref_glosses


def edit_counts(reference: Sequence[int], hypothesis: Sequence[int]) -> EditCounts:
    """Counts the errors of a cheapest alignment, every error at cost 1.

    Where several alignments are cheapest, the one with the most substitutions is counted, as jiwer
    and sclite mostly do; their sum, and so the WER, does not depend on the choice.
    """
    rows, columns = len(reference), len(hypothesis)
    cost = np.zeros((rows + 1, columns + 1), np.int64)
    cost[:, 0] = np.arange(rows + 1)
    cost[0] = np.arange(columns + 1)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            differs = reference[i - 1] != hypothesis[j - 1]
            cost[i, j] = min(cost[i - 1, j - 1] + differs, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    substitutions = deletions = insertions = 0
    i, j = rows, columns
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            substitutions += int(reference[i - 1] != hypothesis[j - 1])
            i, j = i - 1, j - 1
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            deletions += 1
            i -= 1
        else:
            insertions += 1
            j -= 1
    return EditCounts(substitutions, deletions, insertions, rows)

"""Measures that compare hypotheses with references. Numpy only.

They are the word error rate (WER) from a cheapest alignment; its bootstrap intervals over sentences
(Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP
2004); and how well the found times of signs fit the true ones.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

LEVEL = 0.95  # of every interval here


@dataclasses.dataclass(frozen=True)
class EditCounts:
    """The errors of one sentence, or the sum over many."""

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
        """Errors divided by reference glosses; by 1 if there are none, as of background alone."""
        return self.errors / max(self.ref_glosses, 1)


class Edit(NamedTuple):
    """One step of an alignment."""

    kind: Literal["C", "S", "D", "I"]  # correct, substitution, deletion, insertion
    reference: int | None  # position in the reference; None for an insertion
    hypothesis: int | None  # position in the hypothesis; None for a deletion


def align_edits(reference: Sequence[int], hypothesis: Sequence[int]) -> list[Edit]:
    """Returns a cheapest alignment of gloss ids; every error costs 1 (Levenshtein distance).

    If several are cheapest, it pairs glosses from the end as long as that is cheapest. So it prefers
    substitutions, mostly as jiwer and sclite do. The number of errors, and so the WER, does not depend
    on the choice.

    Returns:
        Edits in the order of the sentence; every position of both sequences is in exactly one.
    """
    same, cost = _costs(np.asarray(reference, np.int64), np.asarray(hypothesis, np.int64))
    edits: list[Edit] = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] - same[i - 1][j - 1]:
            i, j = i - 1, j - 1
            edits.append(Edit("C" if same[i][j] else "S", i, j))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            edits.append(Edit("D", i, None))
        else:
            j -= 1
            edits.append(Edit("I", None, j))
    return edits[::-1]


def _costs(reference: np.ndarray, hypothesis: np.ndarray) -> tuple[list, list]:
    """Returns which glosses are the same, (U, L), and the costs to align all beginnings, (U + 1, L + 1).

    The length of the hypothesis's beginning is subtracted from a cost. An insertion then costs nothing,
    so that a running minimum fills a row at once instead of cell by cell.
    """
    same = (reference[:, None] == hypothesis).astype(np.int64)
    cost = np.zeros((len(reference) + 1, len(hypothesis) + 1), np.int64)
    cost[:, 0] = np.arange(len(cost))
    for i, row in enumerate(same):
        cost[i + 1, 1:] = np.minimum(cost[i, :-1] - row, cost[i, 1:] + 1)
        cost[i + 1] = np.minimum.accumulate(cost[i + 1])
    return same.tolist(), cost.tolist()


def edit_counts(reference: Sequence[int], hypothesis: Sequence[int]) -> EditCounts:
    """Counts the errors of `align_edits` by kind."""
    return count_edits(align_edits(reference, hypothesis))


def count_edits(edits: Iterable[Edit]) -> EditCounts:
    """Counts the errors of an alignment by kind."""
    kinds = Counter(edit.kind for edit in edits)
    ref_glosses = kinds["C"] + kinds["S"] + kinds["D"]
    return EditCounts(kinds["S"], kinds["D"], kinds["I"], ref_glosses)


# ---------------------------------------------------------------------------------------- bootstrap


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The WER of system a minus that of system b on the same sentences; below 0 if a is better."""

    difference: float
    low: float  # 95 % interval of the difference
    high: float
    a_better: float  # share of resamples in which a has strictly fewer errors


def bootstrap_wer(
    errors: Sequence[int] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the WER over resampled sentences (Bisani and Ney 2004).

    Every sentence has its errors and its number of reference glosses, (n,) each. A resample draws n
    sentences with replacement.

    Raises:
        ValueError: there are no sentences.
    """
    sums = _resampled_sums(errors, lengths, samples=samples, seed=seed)
    low, high = np.quantile(sums[0] / sums[1], _TAILS)
    return float(low), float(high)


def paired_bootstrap(
    errors_a: Sequence[int] | np.ndarray,
    errors_b: Sequence[int] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
) -> Comparison:
    """Compares systems a and b on the same sentences and resamples, which are as in `bootstrap_wer`.

    Raises:
        ValueError: there are no sentences, or the numbers of sentences differ.
    """
    sums = _resampled_sums(errors_a, errors_b, lengths)
    differences = (sums[0] - sums[1]) / sums[2]
    low, high = np.quantile(differences, _TAILS)
    difference = (np.sum(errors_a) - np.sum(errors_b)) / max(np.sum(lengths), 1)
    return Comparison(
        float(difference), float(low), float(high), float(np.mean(differences < 0, dtype=float))
    )


_TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


def _resampled_sums(
    *columns: Sequence[int] | np.ndarray, samples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Returns sums (samples,) of every column (n,) over the same resamples; lengths, 1 or more, last."""
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"different numbers of sentences: {[len(column) for column in columns]}")
    table = np.asarray(columns, np.int64)
    sentences = table.shape[1]
    if sentences == 0:
        raise ValueError("the bootstrap needs sentences")
    rng = np.random.default_rng(seed)
    sums = np.empty((len(table), samples), np.int64)
    for sample in range(samples):  # one by one: all at once would not fit for a large corpus
        sums[:, sample] = table[:, rng.integers(sentences, size=sentences)].sum(axis=1)
    sums[-1] = np.maximum(sums[-1], 1)  # a resample of background alone
    return tuple(sums)


# ------------------------------------------------------------------------------------ times of signs


@dataclasses.dataclass(frozen=True)
class SegmentScores:
    """How well the found times of signs fit the true ones; a field is None if no sign is matched.

    A true sign is matched if the alignment of glosses pairs it with the same gloss. The alignment
    ignores times, so a match in the wrong place, for example with the wrong one of two equal signs, is
    a match with an IoU of 0. Inserted signs count in neither IoU, but in the WER.
    """

    signs: int  # true signs
    matched: int
    iou: float | None  # mean intersection over union of the matched signs
    iou_all: float  # the same over all true signs, 0 for one that is missed or substituted
    onset_error_ms: float | None  # mean of found minus true start of the matched; above 0 is late
    onset_error_ms_median: float | None  # median of its absolute value


def segment_scores(
    sentences: Iterable[tuple[Sequence[Edit], np.ndarray, np.ndarray]],
) -> SegmentScores | None:
    """Compares found with true times over sentences; returns None if there are no true signs.

    A sentence has its alignment, the true start and end of every reference gloss (U, 2), and the found
    ones of every hypothesis gloss (L, 2), in seconds.
    """
    signs = 0
    found, true = [np.empty((0, 2))], [np.empty((0, 2))]
    for edits, segments, spans in sentences:
        signs += len(segments)
        rows, columns = _matched(edits)
        true.append(np.asarray(segments, np.float64).reshape(-1, 2)[rows])
        found.append(np.asarray(spans, np.float64).reshape(-1, 2)[columns])
    if signs == 0:
        return None
    a, b = np.concatenate(found), np.concatenate(true)
    overlaps = interval_iou(a, b)
    onsets = 1000 * (a[:, 0] - b[:, 0])
    some = len(overlaps) > 0
    return SegmentScores(
        signs=signs,
        matched=len(overlaps),
        iou=float(overlaps.mean()) if some else None,
        iou_all=float(overlaps.sum() / signs),
        onset_error_ms=float(onsets.mean()) if some else None,
        onset_error_ms_median=float(np.median(np.abs(onsets))) if some else None,
    )


def emission_delays(
    sentences: Iterable[tuple[Sequence[Edit], np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Returns the seconds (n,) from the true end of every matched sign until it was reported.

    A sentence has its alignment, the true start and end of every reference gloss (U, 2), and the time at
    which every hypothesis gloss was reported (L,), in seconds. `SegmentScores` says what is matched.
    """
    delays = [np.empty(0)]
    for edits, segments, reported in sentences:
        rows, columns = _matched(edits)
        ends = np.asarray(segments, np.float64).reshape(-1, 2)[rows, 1]
        delays.append(np.asarray(reported, np.float64)[columns] - ends)
    return np.concatenate(delays)


def _matched(edits: Iterable[Edit]) -> np.ndarray:
    """The positions in reference and hypothesis of the glosses that an alignment finds equal: (2, n)."""
    pairs = [(edit.reference, edit.hypothesis) for edit in edits if edit.kind == "C"]
    return np.array(pairs, np.int64).reshape(-1, 2).T


def interval_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over union (n,) of intervals a and b (n, 2); 0 if both have no length."""
    shared = np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0])
    shared = np.maximum(shared, 0.0)
    union = (a[:, 1] - a[:, 0]) + (b[:, 1] - b[:, 0]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

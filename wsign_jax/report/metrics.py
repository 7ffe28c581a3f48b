"""What is counted and measured between references and hypotheses. Numpy only.

Word error rate from a cheapest alignment; its bootstrap intervals over sentences (Bisani and Ney,
Bootstrap estimates for confidence intervals in ASR performance evaluation, ICASSP 2004); how well the
found times of signs fit the true ones.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

LEVEL = 0.95  # of every interval here


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


class Edit(NamedTuple):
    """One step of an alignment."""

    kind: Literal["C", "S", "D", "I"]  # correct, substitution, deletion, insertion
    reference: int | None  # position in the reference; None of an insertion
    hypothesis: int | None  # position in the hypothesis; None of a deletion


def align(reference: Sequence[int], hypothesis: Sequence[int]) -> list[Edit]:
    """A cheapest alignment, every error at cost 1 (Levenshtein distance).

    Where several are cheapest it pairs glosses from the end on as long as that is cheapest, so that
    substitutions are preferred, as in jiwer and sclite mostly; the number of errors, and so the WER,
    does not depend on the choice.

    Args:
        reference: (U,) gloss ids.
        hypothesis: (L,) gloss ids.

    Returns:
        Edits in the order of the sentence; every position of both sequences is in one of them.
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
    """(U, L) which glosses are the same, and (U + 1, L + 1) the cost of aligning every two beginnings
    less the length of the hypothesis's: with that subtracted an insertion costs nothing, and a row is
    filled by a running minimum instead of one cell after the other."""
    same = (reference[:, None] == hypothesis).astype(np.int64)
    cost = np.zeros((len(reference) + 1, len(hypothesis) + 1), np.int64)
    cost[:, 0] = np.arange(len(cost))
    for i, row in enumerate(same):
        cost[i + 1, 1:] = np.minimum(cost[i, :-1] - row, cost[i, 1:] + 1)
        cost[i + 1] = np.minimum.accumulate(cost[i + 1])
    return same.tolist(), cost.tolist()


def edit_counts(reference: Sequence[int], hypothesis: Sequence[int]) -> EditCounts:
    """Counts the errors of `align` by kind."""
    return count_edits(align(reference, hypothesis))


def count_edits(edits: Iterable[Edit]) -> EditCounts:
    """Counts the errors of an alignment by kind."""
    kinds = Counter(edit.kind for edit in edits)
    ref_glosses = kinds["C"] + kinds["S"] + kinds["D"]
    return EditCounts(kinds["S"], kinds["D"], kinds["I"], ref_glosses)


# ---------------------------------------------------------------------------------------- bootstrap


@dataclasses.dataclass(frozen=True)
class Comparison:
    """WER of system a less that of system b on the same sentences; below 0 where a is better."""

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
    """95 % percentile interval of the WER over resampled sentences (Bisani and Ney 2004).

    Args:
        errors: (n,) errors of every sentence.
        lengths: (n,) its reference glosses.
        samples: resamples, n sentences each, drawn with replacement.
        seed: of the draws.

    Raises:
        ValueError: no sentence, or one whose reference is empty.
    """
    sums = _resampled_sums(errors, lengths, samples=samples, seed=seed)
    low, high = np.quantile(sums[0] / sums[1], _TAILS)
    return float(low), float(high)


def paired_bootstrap(
    errors_a: Sequence[int] | np.ndarray,
    errors_b: Sequence[int] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compares two systems on the same sentences, both on the same resamples (Bisani and Ney 2004).

    Args:
        errors_a: (n,) errors of system a in every sentence.
        errors_b: (n,) those of system b.
        lengths: (n,) reference glosses.
        samples: resamples, n sentences each, drawn with replacement.
        seed: of the draws.

    Raises:
        ValueError: no sentence, one whose reference is empty, or other sentences in a than in b.
    """
    sums = _resampled_sums(errors_a, errors_b, lengths, samples=samples, seed=seed)
    differences = (sums[0] - sums[1]) / sums[2]
    low, high = np.quantile(differences, _TAILS)
    difference = (np.sum(errors_a) - np.sum(errors_b)) / np.sum(lengths)
    return Comparison(
        float(difference), float(low), float(high), float(np.mean(differences < 0, dtype=float))
    )


_TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


def _resampled_sums(
    *columns: Sequence[int] | np.ndarray, samples: int, seed: int
) -> tuple[np.ndarray, ...]:
    """For every column (n,) its sums (samples,) over the same resamples; the last is the lengths."""
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"different numbers of sentences: {[len(column) for column in columns]}")
    table = np.asarray(columns, np.int64)
    sentences = table.shape[1]
    if sentences == 0 or table[-1].min() < 1:
        raise ValueError("the bootstrap needs sentences, each with at least one reference gloss")
    rng = np.random.default_rng(seed)
    sums = np.empty((len(table), samples), np.int64)
    for sample in range(samples):  # one by one: all at once would not fit for a large corpus
        sums[:, sample] = table[:, rng.integers(sentences, size=sentences)].sum(axis=1)
    return tuple(sums)


# ------------------------------------------------------------------------------------ times of signs


@dataclasses.dataclass(frozen=True)
class SegmentScores:
    """How well the found times of signs fit the true ones; None where nothing could be matched.

    A true sign is matched where the alignment of glosses pairs it with the same gloss. The alignment
    does not know of times, so a match in the wrong place, such as the wrong one of two equal signs,
    is a match with an IoU of 0. Inserted signs count in neither IoU: the WER has them.
    """

    signs: int  # true signs
    matched: int
    iou: float | None  # mean intersection over union of the matched
    iou_all: float  # the same over all true signs, 0 for one that is missed or substituted
    onset_error_ms: float | None  # mean of found less true start over the matched; above 0 is late
    onset_error_ms_median: float | None  # median of its absolute value


def segment_scores(
    sentences: Iterable[tuple[Sequence[Edit], np.ndarray, np.ndarray]],
) -> SegmentScores | None:
    """Compares found with true times over sentences; None where there is no true sign.

    Args:
        sentences: for each its alignment, the true (U, 2) start and end of every reference gloss, and
            the found (L, 2) ones of every hypothesis gloss, in seconds.
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
    """(n,) seconds from the true end of every sign that is matched, as in `SegmentScores`, until it was
    reported; below 0 where that was before its end.

    Args:
        sentences: for each its alignment, the true (U, 2) start and end of every reference gloss, and
            the (L,) times at which every hypothesis gloss was reported, in seconds.
    """
    delays = [np.empty(0)]
    for edits, segments, reported in sentences:
        rows, columns = _matched(edits)
        ends = np.asarray(segments, np.float64).reshape(-1, 2)[rows, 1]
        delays.append(np.asarray(reported, np.float64)[columns] - ends)
    return np.concatenate(delays)


def _matched(edits: Iterable[Edit]) -> np.ndarray:
    """(2, n) positions in reference and in hypothesis of the glosses that the alignment finds equal."""
    pairs = [(edit.reference, edit.hypothesis) for edit in edits if edit.kind == "C"]
    return np.array(pairs, np.int64).reshape(-1, 2).T


def interval_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) intersection over union of intervals a and b (n, 2); 0 where both have no length."""
    shared = np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0])
    shared = np.maximum(shared, 0.0)
    union = (a[:, 1] - a[:, 0]) + (b[:, 1] - b[:, 0]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

"""Computes `report.json`: every figure of an evaluation, from its decoded sentences."""

import bisect
import dataclasses
import math
import pathlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report import metrics, tasks
from wsign_jax.report.sentences import AlignedEdit, Sentence

LENGTH_BINS = (0, 1, 2, 4, 7, 11, 16, 21)  # first reference length of every bin
CONFUSIONS = 30  # pairs listed


def summarize(
    sentences: Sequence[Sentence],
    vocabulary: Vocabulary,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Returns every figure of an evaluation, in a fixed order and ready for JSON.

    `settings` say what was measured: checkpoint, data, split, decoder and so on. `calibration` says how
    far confidences can be trusted. Its `bins` may be a list of {"confidence": mean of the glosses in the
    bin, "accuracy": share of them that is right, "count": their number}.

    Returns:
        task, measures (`tasks.task_measures`), wer, substitutions, deletions, insertions, ref_glosses,
        sentences, wer_interval (95 %), sentence_accuracy, hyp_glosses, blank_rate, warnings, by_signer,
        by_length, by_gloss, confusions, segments (`metrics.SegmentScores`, None if no true times are
        known), calibration, timing, settings.

    Raises:
        WSignError: there are no sentences, or two have the same id.
        TypeError: `settings`, `timing` or `calibration` has a value that JSON cannot hold.
    """
    if not sentences:
        raise WSignError("no sentences to report on; name a split that has some")
    [(id, count)] = Counter(sentence.id for sentence in sentences).most_common(1)
    if count > 1:
        raise WSignError(f"sentence {id!r} is in the split twice; give each its own id")
    interval = metrics.bootstrap_wer(
        [sentence.counts.errors for sentence in sentences],
        [sentence.counts.ref_glosses for sentence in sentences],
    )
    return {
        **_measures(sentences, vocabulary),
        **_scores(sentences),
        "wer_interval": list(interval),
        "hyp_glosses": sum(len(sentence.hypothesis) for sentence in sentences),
        "blank_rate": _blank_rate(sentences),
        "warnings": find_warnings(sentences),
        "by_signer": _by_signer(sentences),
        "by_length": _by_length(sentences),
        "by_gloss": count_by_gloss([sentence.aligned for sentence in sentences], vocabulary),
        "confusions": _confusions(sentences, vocabulary),
        "segments": _segments(sentences),
        "calibration": _plain(calibration),
        "timing": _plain(timing),
        "settings": _plain(settings),
    }


def _measures(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> dict[str, Any]:
    task = tasks.find_task([sentence.reference for sentence in sentences], vocabulary)
    edits = sum((sentence.counts for sentence in sentences), metrics.EditCounts())
    ranked = [(s.reference[0], s.rank) for s in sentences if s.rank is not None]
    return {"task": task, "measures": tasks.task_measures(task, edits, ranked)}


def _scores(sentences: Sequence[Sentence]) -> dict[str, Any]:
    edits = sum((sentence.counts for sentence in sentences), metrics.EditCounts())
    right = sum(sentence.counts.errors == 0 for sentence in sentences)
    return {
        "wer": edits.wer,
        "substitutions": edits.substitutions,
        "deletions": edits.deletions,
        "insertions": edits.insertions,
        "ref_glosses": edits.ref_glosses,
        "sentences": len(sentences),
        "sentence_accuracy": right / len(sentences),
    }


def _blank_rate(sentences: Sequence[Sentence]) -> float:
    """The share of all valid patches whose likeliest id is the blank."""
    patches = sum(sentence.patches for sentence in sentences)
    return sum(sentence.blanks for sentence in sentences) / patches if patches else 0.0


# ----------------------------------------------------------------------------------------- warnings


def find_warnings(sentences: Sequence[Sentence]) -> list[str]:
    """Returns warnings that a reader must know before believing any figure; [] if all is well.

    A high blank rate alone is well: a healthy CTC head may use one patch in fifteen for a sign. It has
    collapsed onto the blank if the patches left for glosses cannot spell even half of the references.
    """
    glosses = sum(len(sentence.reference) for sentence in sentences)
    found = sum(len(sentence.hypothesis) for sentence in sentences)
    spoken = sum(sentence.patches - sentence.blanks for sentence in sentences)
    silent, few = spoken < 0.5 * glosses, found < 0.3 * glosses
    came_out = f"{found} glosses came out where the references have {glosses}"
    blanks = f"the blank is likeliest in {_percent(_blank_rate(sentences))} of all patches"
    result = []
    if silent and few:
        result.append(
            f"BLANK COLLAPSE: {came_out}, and {blanks}. The model has learnt to say nothing: its WER is "
            "near 1 whatever the decoder. Train longer or with a higher learning rate, and look whether "
            "train/ctc still falls."
        )
    elif silent:
        result.append(
            f"The CTC head is near BLANK COLLAPSE: {blanks}, too many to spell the references. What "
            "came out is due to the attention decoder, the language model or the length bonus."
        )
    elif few:
        result.append(
            f"HARDLY ANY GLOSSES: {came_out}, though the blank is not to blame ({blanks}). Either the "
            "same gloss is likeliest all along, or the decoder stops too early: look at the timelines."
        )
    if found > 1.7 * glosses:
        result.append(
            f"FAR TOO MANY GLOSSES: {came_out}. Look at the length bonus and at the insertions."
        )
    hypotheses = {sentence.hypothesis for sentence in sentences}
    references = {sentence.reference for sentence in sentences}
    if len(references) >= 5 and len(hypotheses) == 1 and () not in hypotheses:
        result.append(
            f"ONE ANSWER TO EVERYTHING: all {len(sentences)} sentences came out the same, though "
            f"{len(references)} different ones were signed. The model does not look at its input: "
            "check features and normalization."
        )
    return result


def _percent(share: float) -> str:
    """A share in percent, rounded to 0 or 100 only if it is exactly that."""
    if 0 < share < 1:
        return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
    return f"{100 * share:.0f} %"


# ------------------------------------------------------------------------------------------- tables


def _by_signer(sentences: Sequence[Sentence]) -> list[dict[str, Any]]:
    """The scores of every signer, sorted by name; [] if no signer is known."""
    groups = defaultdict(list)
    for sentence in sentences:
        groups[sentence.signer].append(sentence)
    if set(groups) == {""}:
        return []
    return [{"signer": signer, **_scores(groups[signer])} for signer in sorted(groups)]


def _by_length(sentences: Sequence[Sentence]) -> list[dict[str, Any]]:
    """The scores by length of the reference; bins without sentences are left out."""
    groups = defaultdict(list)
    for sentence in sentences:
        groups[bisect.bisect(LENGTH_BINS, len(sentence.reference)) - 1].append(sentence)
    return [{"glosses": _bin_name(number), **_scores(groups[number])} for number in sorted(groups)]


def _bin_name(number: int) -> str:
    first = LENGTH_BINS[number]
    if number + 1 == len(LENGTH_BINS):
        return f"{first}+"
    last = LENGTH_BINS[number + 1] - 1
    return str(first) if first == last else f"{first}-{last}"


def count_by_gloss(
    alignments: Sequence[Sequence[AlignedEdit]], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Counts the edits of every gloss in the alignments of all sentences; the most errors come first."""
    counts = Counter(
        (kind, hypothesis if kind == "I" else reference)
        for edits in alignments
        for kind, reference, hypothesis in edits
    )
    substituted_by: dict[int, dict[str, int]] = defaultdict(dict)
    for (reference, hypothesis), count in _substitutions(alignments):
        substituted_by[reference][vocabulary.names[hypothesis]] = count
    glosses = {id for edits in alignments for _, *ids in edits for id in ids if id is not None}
    rows = [
        {
            "gloss": vocabulary.names[id],
            "reference": counts["C", id] + counts["S", id] + counts["D", id],
            "correct": counts["C", id],
            "substituted": counts["S", id],
            "deleted": counts["D", id],
            "inserted": counts["I", id],
            "substituted_by": substituted_by[id],
        }
        for id in sorted(glosses)
    ]
    return sorted(rows, key=lambda row: row["correct"] - row["reference"] - row["inserted"])


def _confusions(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    alignments = [sentence.aligned for sentence in sentences]
    return [
        {
            "reference": vocabulary.names[reference],
            "hypothesis": vocabulary.names[hypothesis],
            "count": count,
        }
        for (reference, hypothesis), count in _substitutions(alignments)[:CONFUSIONS]
    ]


def _substitutions(
    alignments: Sequence[Sequence[AlignedEdit]],
) -> list[tuple[tuple[int, int], int]]:
    """All substituted pairs as ((reference, hypothesis), count), the most frequent first, then by id."""
    counts = Counter(
        (reference, hypothesis)
        for edits in alignments
        for kind, reference, hypothesis in edits
        if kind == "S" and reference is not None and hypothesis is not None
    )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _segments(sentences: Sequence[Sentence]) -> dict[str, Any] | None:
    scores = metrics.segment_scores(
        (sentence.edits, sentence.segments, sentence.spans)
        for sentence in sentences
        if sentence.segments is not None
    )
    return None if scores is None else dataclasses.asdict(scores)


# --------------------------------------------------------------------------------------------- JSON


def _plain(value: Any) -> Any:
    """Converts a value to JSON's own types; NaN and infinity become None, as JSON lacks them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a report cannot hold {value!r}, a {type(value).__name__}")

"""A model card as Markdown: with all that a user must know before using a model.

Mitchell et al. 2019, arXiv:1810.03993.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wsign_jax.report import tasks

_NOT_AT_HAND = "the data set was not at hand at the export"


class SplitResult(NamedTuple):
    """The results that a report gives for a split."""

    wer: float
    interval: tuple[float, float]  # 95 % interval of the WER
    sentences: int
    decoder: str
    chunk: int  # patches; 0 for full attention
    left_context: int
    measures: Mapping[str, float] = {}  # of its task, as in `tasks.task_measures`

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> "SplitResult":
        """Takes the fields of `report_<split>.json`.

        Raises:
            KeyError, TypeError, ValueError: it is not a report.
        """
        settings, (low, high) = report["settings"], report["wer_interval"]
        return cls(
            float(report["wer"]),
            (float(low), float(high)),
            int(report["sentences"]),
            str(settings["decoder"]),
            int(settings["chunk"]),
            int(settings["left_context"]),
            # Reports of earlier versions have none.
            {n: float(v) for n, v in report.get("measures", {}).items() if n in tasks.SHOWN},
        )


@dataclasses.dataclass(frozen=True)
class CardFields:
    """The contents of a card; a field is empty if it is not known."""

    name: str  # of the file that the card lies beside
    checkpoint: str
    model: str  # for example 'tiny, 1,234,567 parameters'
    stages: Sequence[str]  # in which it was trained
    glosses: Sequence[str]
    data: str  # the folder of its data set
    made: Mapping[str, Any]  # how the data set was made: the content of dataset.json
    sentences: Mapping[str, int]  # by split
    signers: Mapping[str, Sequence[str]]  # by split
    reports: Mapping[str, SplitResult]  # of this checkpoint, by split
    license: str
    versions: Mapping[str, str]


def model_card(fields: CardFields) -> str:
    """Returns the card's text."""
    sections = {
        "Use": _use(fields),
        "Data": _data(fields),
        "Signers": _signers(fields),
        "Error rate": _error_rate(fields),
        "Limits": _limits(fields),
        "License": fields.license
        or "Not stated at the export. The code is Apache-2.0; weights follow what their data allows.",
        "Telemetry of the tracker": (
            "Keypoints come from MediaPipe's HandLandmarker, whose releases 1.x send metrics about "
            "performance and use to Google; its terms ask that users be told. Recognition from "
            "keypoints sends nothing."
        ),
        "Versions": "\n".join(f"- {name} {version}" for name, version in fields.versions.items()),
    }
    parts = [f"# {fields.name}", "Hand keypoints in, sign glosses out: a WhisperSign model."]
    return "\n\n".join(parts + [f"## {name}\n\n{text}" for name, text in sections.items()]) + "\n"


def _use(fields: CardFields) -> str:
    model = (
        f"Model: {fields.model}; stages {', '.join(fields.stages)}; checkpoint {fields.checkpoint}."
    )
    if fields.name.endswith(".onnx"):
        return f"From keypoints, not normalized, to CTC's logits, with any ONNX runtime.\n\n{model}"
    trust = (
        "Load only files from people whom you trust. A program that calls anything outside of itself is "
        "refused, but a hostile one can still crash, run for ever or fill the memory."
    )
    return (
        f"    from wsign_jax import Recognizer\n\n"
        f'    [transcript] = Recognizer.load("{fields.name}").transcribe("video.mp4")\n\n'
        f"{trust}\n\n{model}"
    )


def _data(fields: CardFields) -> str:
    lines = [f"Data set: `{fields.data}`."]
    if fields.sentences:
        counts = ", ".join(f"{count} {split}" for split, count in fields.sentences.items())
        lines.append(f"Sentences: {counts}.")
    else:
        lines.append(f"Sentences: not known, {_NOT_AT_HAND}.")
    # Details of settings belong to the data set.
    said = {k: v for k, v in fields.made.items() if isinstance(v, str | int | float)}
    lines += [f"{name}: {value}." for name, value in said.items()]
    names = ", ".join(fields.glosses)
    return "\n".join(lines) + f"\n\n{len(fields.glosses)} glosses: {names}"


def _signers(fields: CardFields) -> str:
    if not fields.signers:
        why = "it has no `signers.csv`" if fields.sentences else _NOT_AT_HAND
        return f"Not known: {why}."
    lines = [
        f"- {split}: {len(signers)} ({', '.join(signers)})"
        for split, signers in fields.signers.items()
    ]
    if "train" in fields.signers:
        seen = set(fields.signers["train"])
        for split in ("val", "test"):
            shared = sorted(seen & set(fields.signers.get(split, ())))
            if shared:
                lines.append(
                    f"- {split} shares {', '.join(shared)} with train: its error rate says little "
                    "of new signers"
                )
    return "\n".join(lines)


def _error_rate(fields: CardFields) -> str:
    if not fields.reports:
        return "Not measured: there was no report of this checkpoint at the export."
    lines = [
        "| split | WER | 95 % interval | sentences | decoder | attention |",
        "|---|---|---|---|---|---|",
    ]
    for split, found in fields.reports.items():
        low, high = found.interval
        window = f"{found.chunk} patches, {found.left_context} behind" if found.chunk else "full"
        lines.append(
            f"| {split} | {found.wer:.3f} | {low:.3f} to {high:.3f} | {found.sentences} "
            f"| {found.decoder} | {window} |"
        )
    measured = [
        f"- {split}: {tasks.measures_line(found.measures)}"
        for split, found in fields.reports.items()
        if found.measures
    ]
    return "\n".join(lines + [""] * bool(measured) + measured)


def _limits(fields: CardFields) -> str:
    return (
        f"- It knows {len(fields.glosses)} glosses; any other sign is missed or taken for one.\n"
        "- It sees hands alone: no face, mouth or body, which carry grammar in every sign language.\n"
        "- Glosses are not a translation: they leave out grammar and order of the spoken language.\n"
        "- The error rate holds for data like that above; other signers, cameras and pace raise it.\n"
        "- Not for decisions about people, nor where a mistake can do harm."
    )

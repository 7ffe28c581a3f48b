"""Decoded sentences to report on, made up."""

import numpy as np

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report.sentences import Sentence

# Names that a careless file or page would break on.
NASTY = (
    "<blank>",
    "HELLO",
    "<script>alert(1)</script>",
    "TWO WORDS",
    "(a)",
    "100%",
    "ÜBER",
    "日本",
)
VOCABULARY = Vocabulary(NASTY)
PATCH_SECONDS = 4 / 60


def sentence(
    id: str = "a",
    reference: tuple[int, ...] = (1, 2, 3),
    hypothesis: tuple[int, ...] = (1, 2, 3),
    *,
    signer: str = "",
    patches: int = 30,
    blanks: int | None = None,
    timed: bool = True,
    rank: int = 1,
) -> Sentence:
    """Signs spread evenly over the recording, found 0.1 s after they begin; each is likeliest in one
    patch unless `blanks` says otherwise."""
    seconds = patches * PATCH_SECONDS
    spans = _spread(len(hypothesis), seconds)
    spans[:, 0] += 0.1
    ids = (0, *dict.fromkeys(reference + hypothesis))
    posteriors = np.zeros((patches, len(ids)), np.float16)
    posteriors[:, 0] = 1.0
    for gloss, (start, end) in zip(hypothesis, spans, strict=True):
        patch = int((start + end) / 2 / PATCH_SECONDS)
        posteriors[patch] = 0.0
        posteriors[patch, ids.index(gloss)] = 1.0
    return Sentence(
        id=id,
        signer=signer,
        seconds=seconds,
        reference=reference,
        hypothesis=hypothesis,
        spans=spans,
        confidences=np.linspace(0.5, 1.0, len(hypothesis)),
        segments=_spread(len(reference), seconds) if timed else None,
        patches=patches,
        blanks=patches - len(hypothesis) if blanks is None else blanks,
        posterior_ids=ids,
        posteriors=posteriors,
        rank=rank if len(reference) == 1 else None,
    )


def _spread(count: int, seconds: float) -> np.ndarray:
    edges = np.linspace(0, seconds, count + 1)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def sentences() -> list[Sentence]:
    """Four sentences of two signers, every kind of error in them, one with an empty hypothesis."""
    return [
        sentence("b 1", (1, 2, 3), (1, 2, 3), signer="S1"),
        sentence("b 2", (1, 2, 3, 4), (1, 5, 3, 4, 6), signer="S2"),
        sentence("ü(3)", (7, 7), (), signer="S2"),
        sentence("d/4", (2, 6, 4, 1, 1), (5, 6, 4, 1), signer="S1", timed=False),
    ]

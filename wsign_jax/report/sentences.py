"""One decoded sentence with its reference, as a report needs it."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from wsign_jax.report import metrics

# Kind (C, S, D, I), reference and hypothesis gloss id of an edit; None if it lacks one.
AlignedEdit = tuple[str, int | None, int | None]


def with_gloss_ids(
    reference: Sequence[int], hypothesis: Sequence[int], edits: Sequence[metrics.Edit]
) -> tuple[AlignedEdit, ...]:
    """Returns the edits, from `metrics.align_edits` of the two, with their gloss ids."""
    return tuple(
        (
            edit.kind,
            None if edit.reference is None else reference[edit.reference],
            None if edit.hypothesis is None else hypothesis[edit.hypothesis],
        )
        for edit in edits
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Sentence:
    """One sentence of a split, the glosses decoded from it, and the CTC head's posteriors."""

    id: str
    signer: str  # '' if unknown
    seconds: float  # length of the recording
    reference: tuple[int, ...]  # gloss ids; none in background
    hypothesis: tuple[int, ...]
    spans: np.ndarray  # (hyp, 2) start, end in seconds of every hypothesis gloss
    confidences: np.ndarray  # (hyp,) in [0, 1], calibrated
    segments: np.ndarray | None  # (ref, 2) true start, end in seconds, if known
    patches: int  # valid patches
    blanks: int  # patches whose likeliest id is the blank
    posterior_ids: tuple[int, ...]  # ids whose posteriors are kept, the blank first; or ()
    posteriors: np.ndarray  # (patches, len(posterior_ids)) float16 probabilities
    rank: int | None = None  # place of a single sign's gloss among all, by CTC; 1 is the likeliest

    @functools.cached_property
    def edits(self) -> tuple[metrics.Edit, ...]:
        """The alignment of reference and hypothesis."""
        return tuple(metrics.align_edits(self.reference, self.hypothesis))

    @functools.cached_property
    def counts(self) -> metrics.EditCounts:
        """The errors by kind."""
        return metrics.count_edits(self.edits)

    @functools.cached_property
    def aligned(self) -> tuple[AlignedEdit, ...]:
        """The edits with their gloss ids."""
        return with_gloss_ids(self.reference, self.hypothesis, self.edits)

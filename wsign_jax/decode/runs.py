"""Greedy CTC as posteriors arrive: the runs of one best id, carried from chunk to chunk."""

from typing import NamedTuple

import numpy as np

from wsign_jax.data.vocab import BLANK_ID


class Run(NamedTuple):
    """Neighbouring patches with the same best id: a gloss of greedy decoding, unless it is the blank.

    The greedy path is the likeliest that spells its glosses, so these spans and confidences are those
    of `align`.
    """

    id: int = BLANK_ID
    start: int = 0  # first patch
    end: int = 0  # patch after the last so far
    log_prob: float = 0.0  # the highest of the id's log posteriors in it


def extend(run: Run, log_probs: np.ndarray, first: int) -> tuple[list[Run], Run]:
    """Takes the next patches.

    Args:
        run: the one that the patch before belongs to; `Run()` at the beginning.
        log_probs: (n, V) log posteriors.
        first: number of the first of them.

    Returns:
        The glosses whose runs have ended, and the run that may go on.
    """
    ended = []
    best = log_probs.argmax(axis=-1)
    highest = np.take_along_axis(log_probs, best[:, None], axis=-1)[:, 0]
    for patch, (id, log_prob) in enumerate(
        zip(best.tolist(), highest.tolist(), strict=True), first
    ):
        if id == run.id:
            run = run._replace(end=patch + 1, log_prob=max(run.log_prob, log_prob))
        else:
            if run.id != BLANK_ID:
                ended.append(run)
            run = Run(id, patch, patch + 1, log_prob)
    return ended, run

"""Clips that cannot be used: how many may be left out, and how they are named."""

import re
from collections import Counter
from collections.abc import Sequence

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora.records import Record

MOST = 0.05  # the share of a sign's clips that may be left out without being asked
_EACH = 5  # problems of one cause that are named one by one
# Whatever differs between problems of one cause: paths, quoted names, numbers.
_PARTICULAR = re.compile(r"'[^']*'|\S*/\S*|\d+")


def describe_problems(problems: Sequence[str]) -> list[str]:
    """Returns a line a problem; many of the same cause become one, with a count and an example."""
    causes: dict[str, list[str]] = {}
    for problem in problems:
        causes.setdefault(_PARTICULAR.sub("*", problem.split(": ", 1)[-1]), []).append(problem)
    lines = []
    for same in causes.values():
        lines += same if len(same) <= _EACH else [f"{same[0]} (and {len(same) - 1:,} more like it)"]
    return lines


def check_annotations(
    headline: str, problems: Sequence[str], usable: Sequence[Record], on_bad: str
) -> None:
    """Raises a `WSignError` if too many annotations are bad; it names them.

    Args:
        headline: the beginning of the message.
        problems: a line for each bad annotation.
        usable: the good ones.
        on_bad: see `ImportSettings`.
    """
    allowed = MOST * (len(usable) + len(problems))
    if not usable:
        raise WSignError(list_problems(f"{headline}: nothing to make a data set of", problems))
    if problems and (on_bad == "error" or (on_bad == "few" and len(problems) > allowed)):
        raise WSignError(list_problems(f"{headline}: {len(problems):,} bad annotations", problems))


def check_clips(
    problems: Sequence[tuple[Record, str]], usable: Sequence[Record], on_bad: str
) -> None:
    """Raises a `WSignError` if too many clips of a sign failed; it names all that did.

    Sentences count together. So does background, most of which may show no hand: any share may fail.
    """
    failed, all_clips = (
        Counter(_sign(record) for record in some) for some in ([r for r, _ in problems], usable)
    )
    over = [sign for sign, count in failed.items() if sign and count > MOST * all_clips[sign]]
    if not problems or on_bad == "skip" or (on_bad == "few" and not over):
        return
    headline = f"{len(problems):,} of {len(usable):,} clips failed"
    if on_bad == "few":
        worst = max(over, key=lambda sign: failed[sign] / all_clips[sign])
        headline += f" ({failed[worst]} of {all_clips[worst]} of {worst}, over {MOST:.0%})"
    raise WSignError(
        list_problems(
            f"{headline}; the others are kept for next time", [line for _, line in problems]
        )
    )


def _sign(record: Record) -> str:
    return " ".join(record.glosses) if len(record.glosses) < 2 else "all sentences"


def list_problems(headline: str, problems: Sequence[str]) -> str:
    """Returns a message that ends in all problems."""
    if not problems:
        return headline
    lines = [
        f"{headline}; fix them, or leave them out with --on_bad=skip",
        *describe_problems(problems),
    ]
    return "\n  ".join(lines)

"""One sentence as HTML: its aligned edits, and posteriors, true and found signs on one time axis.

Places on the time axis are shares of the recording's length, so that all stretches with the page while
text keeps its size.
"""

import html
from collections.abc import Iterable, Sequence

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report import pictures
from wsign_jax.report.sentences import Sentence

KINDS = {"C": "correct", "S": "substituted", "D": "deleted", "I": "inserted"}
SYMBOLS = {"C": "=", "S": "S", "D": "D", "I": "I"}
_TICKS = 12  # at most
_CHARACTER = 1.3  # percent of the axis that a character takes when the axis is narrowest


def as_html(text: str) -> str:
    """Returns text from the data as HTML without markup and without control characters."""
    return html.escape(pictures.without_control(text))


def edits_html(sentence: Sentence, vocabulary: Vocabulary) -> str:
    """Returns the alignment as a list: the reference above, the edit, the hypothesis below."""
    cells = []
    for edit, (kind, reference, hypothesis) in zip(sentence.edits, sentence.aligned, strict=True):
        above = "∅" if reference is None else as_html(vocabulary.names[reference])
        below = "∅" if hypothesis is None else as_html(vocabulary.names[hypothesis])
        at = ""
        if edit.hypothesis is not None:
            start, end = sentence.spans[edit.hypothesis]
            confidence = sentence.confidences[edit.hypothesis]
            at = f"<small>{start:.2f}-{end:.2f} s, {confidence:.2f}</small>"
        cells.append(
            f'<li class={kind}><span>{above}</span><b title="{KINDS[kind]}">{SYMBOLS[kind]}</b>'
            f"<span>{below}</span>{at}</li>"
        )
    return f'<ol class=edits aria-label="aligned glosses">{"".join(cells)}</ol>'


def timeline_html(sentence: Sentence, vocabulary: Vocabulary) -> str:
    """Returns the heat map, the true signs if they are known, the found signs and the seconds.

    A column of the heat map is a patch. The patches share the recording's length evenly, which is exact
    unless the recording ends inside the last patch.
    """
    step = _tick_step(sentence.seconds)
    rows = [*_heat_map(sentence, vocabulary)]
    kinds_true = {e.reference: e.kind for e in sentence.edits if e.reference is not None}
    kinds_found = {e.hypothesis: e.kind for e in sentence.edits if e.hypothesis is not None}
    if sentence.segments is not None:
        names = vocabulary.glosses(sentence.reference)
        signs = zip(names, sentence.segments, kinds_true.values(), strict=True)
        rows.append(_track("true", signs, sentence.seconds))
    names = vocabulary.glosses(sentence.hypothesis)
    signs = zip(names, sentence.spans, kinds_found.values(), strict=True)
    rows.append(_track("found", signs, sentence.seconds))
    rows.append(_axis(sentence.seconds, step))
    return (
        f'<div class=scroll tabindex=0 role=group aria-label="timeline"><div class=timeline '
        f'style="--tick:{100 * step / sentence.seconds:.3f}%">{"".join(rows)}</div></div>'
    )


def _heat_map(sentence: Sentence, vocabulary: Vocabulary) -> Iterable[str]:
    """Yields the picture, a row per gloss and the blank at the bottom, if posteriors are kept."""
    if not sentence.posteriors.size:
        return
    order = [*range(1, len(sentence.posterior_ids)), 0]
    names = [*vocabulary.glosses(sentence.posterior_ids[1:]), "blank"]
    labels = "".join(f"<span>{as_html(name)}</span>" for name in names)
    picture = pictures.heat_map(sentence.posteriors.T[order])
    yield (
        f"<div class=names aria-hidden=true>{labels}</div>"
        f'<img class=heat style="height:calc({len(order)}*var(--row))" src="{picture}" '
        f'alt="posteriors by patch; rows from top: {as_html(", ".join(names))}">'
    )


def _track(title: str, signs: Iterable[tuple[str, Sequence[float], str]], seconds: float) -> str:
    """Returns bars with names; names that would overlap go to another line."""
    bars = []
    line_ends: list[float] = []  # how far every line is taken, in percent
    for name, (start, end), kind in signs:
        left, right = (min(max(100 * at / seconds, 0.0), 100.0) for at in (start, end))
        label = name if kind == "C" else f"{SYMBOLS[kind]} {name}"
        reach = _CHARACTER * (len(label) + 1)
        fits = left + reach <= 100
        taken_from, taken_to = (left, max(right, left + reach)) if fits else (right - reach, right)
        line = next((n for n, at in enumerate(line_ends) if at <= taken_from), len(line_ends))
        line_ends[line : line + 1] = [taken_to]
        bars.append(
            f'<span class="{kind}{"" if fits else " end"}" '
            f'style="left:{left:.2f}%;width:{right - left:.2f}%;top:calc({line}*var(--line))" '
            f'title="{as_html(name)}, {KINDS[kind]}, {start:.2f}-{end:.2f} s">'
            f"<i>{as_html(label)}</i></span>"
        )
    lines = max(len(line_ends), 1)
    return (
        f"<div class=names><span>{title}</span></div>"
        f'<div class=track style="height:calc({lines}*var(--line))">{"".join(bars)}</div>'
    )


def _axis(seconds: float, step: float) -> str:
    ticks = []
    for number in range(int(seconds / step) + 1):
        at = number * step
        ticks.append(f'<span style="left:{100 * at / seconds:.2f}%">{at:g}</span>')
    return f"<div class=names><span>seconds</span></div><div class=axis>{''.join(ticks)}</div>"


def _tick_step(seconds: float) -> float:
    """Returns the smallest round number of seconds that needs no more than `_TICKS` ticks."""
    steps = (mantissa * 10.0**power for power in range(-2, 6) for mantissa in (1, 2, 5))
    return next(step for step in steps if seconds <= step * _TICKS)

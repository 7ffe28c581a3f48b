"""`report.html`: one page that explains an evaluation to a person.

It opens from disk, loads nothing from the network and runs no script. It follows the reader's choice of
light or dark and of text size. All that color tells, a letter tells too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report import pictures, tasks
from wsign_jax.report.sentences import Sentence
from wsign_jax.report.style import STYLE
from wsign_jax.report.timeline import as_html, edits_html, timeline_html

WORST = 10  # sentences shown with their edits before the list of all
PAIRS = 15  # confused pairs listed; report.json has more
SUBSTITUTES = 8  # listed per gloss in the table of glosses; report.json has all
_LEGEND = (
    "<p class=legend>Above the reference, below the hypothesis with its time and confidence; "
    "<b class=C>=</b> correct, <b class=S>S</b> substituted, <b class=D>D</b> deleted, "
    "<b class=I>I</b> inserted.</p>"
)


def report_page(
    sentences: Sequence[Sentence], vocabulary: Vocabulary, summary: Mapping[str, Any]
) -> str:
    """Returns the whole page."""
    worst_first = sorted(sentences, key=lambda s: (-s.counts.wer, -s.counts.errors, s.id))
    split = summary["settings"].get("split")
    title = "Sign recognition" + (f": {as_html(str(split))}" if split else "")
    return "".join(
        [
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<title>{title}, WER {summary['wer']:.3f}</title><style>{STYLE}</style></head><body>\n",
            f"<header><h1>{title}</h1></header><main>\n",
            _warnings(summary["warnings"]),
            _headline(summary),
            _section("Against an earlier report", _fields(summary.get("against", {}))),
            _section("Worst sentences", _worst(worst_first, vocabulary)),
            _section("Confusions", _confusions(summary)),
            _section("By signer", _scores_table("signer", summary["by_signer"])),
            _section("By length of the reference", _scores_table("glosses", summary["by_length"])),
            _section("By gloss", _glosses(summary["by_gloss"])),
            _section("Confidence", _calibration(summary["calibration"])),
            _section("Unknown signs", _unknown_signs(summary.get("unknown_signs"))),
            _section("Decoding time", _fields(summary["timing"])),
            _section("Settings", _fields(summary["settings"])),
            _section("All sentences, the worst first", _all(worst_first, vocabulary)),
            "</main></body></html>\n",
        ]
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>\n" if content else ""


def _warnings(texts: Iterable[str]) -> str:
    start = "<p class=warning role=alert><b>⚠ Warning</b>"
    return "".join(f"{start} {as_html(text)}</p>\n" for text in texts)


def _headline(summary: Mapping[str, Any]) -> str:
    low, high = summary["wer_interval"]
    measures, glosses = summary["measures"], summary["ref_glosses"]
    sentences = f"{summary['sentences']} sentences, {glosses} glosses"
    cards = [
        *(
            (shown, f"{measures[name]:.3f}", note)
            for name, (shown, note) in tasks.SHOWN.items()
            if name in measures
        ),
        ("word error rate", f"{summary['wer']:.3f}", f"95 % interval {low:.3f} to {high:.3f}"),
        ("substituted", summary["substitutions"], _share(summary["substitutions"], glosses)),
        ("deleted", summary["deletions"], _share(summary["deletions"], glosses)),
        ("inserted", summary["insertions"], _share(summary["insertions"], glosses)),
        ("sentences all right", f"{summary['sentence_accuracy']:.3f}", f"of {sentences}"),
        (
            "blank rate",
            f"{summary['blank_rate']:.3f}",
            f"{summary['hyp_glosses']} glosses came out",
        ),
    ]
    segments = summary["segments"]
    if segments and segments["matched"]:
        cards += [
            (
                "overlap with true signs",
                f"{segments['iou']:.3f}",
                f"mean IoU of {segments['matched']} matched; {segments['iou_all']:.3f} over all "
                f"{segments['signs']}",
            ),
            (
                "onset error",
                f"{segments['onset_error_ms_median']:.0f} ms",
                f"median; mean {segments['onset_error_ms']:+.0f} ms (+ is late)",
            ),
        ]
    items = "".join(
        f"<div><dt>{name}</dt><dd><b>{value}</b><small>{note}</small></dd></div>"
        for name, value, note in cards
    )
    return f"<section aria-label=Summary><dl class=cards>{items}</dl></section>\n"


def _share(count: int, glosses: int) -> str:
    return f"{count / glosses:.3f} of the reference glosses"


def _confusions(summary: Mapping[str, Any]) -> str:
    picture = pictures.confusion_matrix(summary["by_gloss"])
    if picture is None:
        return "<p>No gloss was taken for another.</p>"
    rows = [
        [as_html(pair["reference"]), as_html(pair["hypothesis"]), str(pair["count"])]
        for pair in summary["confusions"][:PAIRS]
    ]
    table = _table(["was signed", "came out as", "times"], rows, text_columns=2)
    return (
        f'<div class=side><figure><img class=diagram src="{picture}" '
        'alt="Matrix of the glosses that were confused most; the table has the pairs">'
        "<figcaption>Shaded: errors. On the diagonal, unshaded: how often it was right.</figcaption>"
        f"</figure>{table}</div>"
    )


def _scores_table(name: str, groups: Sequence[Mapping[str, Any]]) -> str:
    if not groups:
        return ""
    kinds = ("substitutions", "deletions", "insertions")
    rows = [
        [
            as_html(group[name]) or "(unknown)",
            f"{group['wer']:.3f}",
            *(str(group[kind]) for kind in kinds),
            str(group["ref_glosses"]),
            str(group["sentences"]),
            f"{group['sentence_accuracy']:.3f}",
        ]
        for group in groups
    ]
    heads = [name, "WER", "S", "D", "I", "reference glosses", "sentences", "sentences all right"]
    return _table(heads, rows)


def _glosses(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [
            as_html(row["gloss"]),
            *(str(row[kind]) for kind in ("reference", "correct", "substituted", "deleted")),
            str(row["inserted"]),
            _most(row["substituted_by"]),
        ]
        for row in rows
    ]
    heads = [
        "gloss",
        "in references",
        "correct",
        "substituted",
        "deleted",
        "inserted",
        "came out as",
    ]
    title = f"{len(rows)} glosses, most errors first"
    return f"<details><summary>{title}</summary>{_table(heads, body)}</details>"


def _most(counts: Mapping[str, int]) -> str:
    """Returns the first of some glosses with their counts, and how many more there are."""
    listed = [f"{as_html(name)} {count}" for name, count in counts.items()]
    more = [f"{len(listed) - SUBSTITUTES} more"] if len(listed) > SUBSTITUTES else []
    return ", ".join(listed[:SUBSTITUTES] + more)


def _calibration(calibration: Mapping[str, Any] | None) -> str:
    if not calibration:
        return ""
    fields = _fields({name: value for name, value in calibration.items() if name != "bins"})
    bins = calibration.get("bins")
    if not bins:
        return fields
    rows = [
        [f"{row['confidence']:.3f}", f"{row['accuracy']:.3f}", str(row["count"])]
        for row in bins
        if row["count"]
    ]
    table = _table(["confidence", "share that is right", "glosses"], rows, text_columns=0)
    return (
        f'<div class=side><figure><img class="diagram small" '
        f'src="{pictures.reliability_diagram(bins)}" '
        'alt="Reliability diagram: share of right glosses against confidence, as in the table">'
        "<figcaption>On the dashed line confidence is what it says; larger dots stand for more "
        f"glosses.</figcaption></figure><div>{table}{fields}</div></div>"
    )


def _unknown_signs(rejection: Mapping[str, Any] | None) -> str:
    if not rejection:
        return ""
    fields = _fields({name: value for name, value in rejection.items() if name != "curve"})
    return (
        f'<div class=side><figure><img class="diagram small" '
        f'src="{pictures.rejection_diagram(rejection)}" '
        'alt="Share of right glosses taken for unknown against share of impostors taken for known">'
        "<figcaption>The dot is the stored threshold. Impostors are glosses that come out for signs "
        "whose own gloss was taken from the outputs. Signs that the network was never trained on pass "
        f"more often.</figcaption></figure><div>{fields}</div></div>"
    )


def _fields(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = [[as_html(name), as_html(_value(value))] for name, value in values.items()]
    return _table(["field", "value"], rows, text_columns=2)


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Returns a table of HTML cells; the first `text_columns` columns hold text, the rest numbers."""
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class=scroll tabindex=0 role=group aria-label="table"><table class=text{text_columns}>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _worst(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> str:
    wrong = [sentence for sentence in sentences[:WORST] if sentence.counts.errors]
    if not wrong:
        return "<p>Every sentence is right.</p>"
    # A link into a closed <details> opens it in current browsers.
    return _LEGEND + "".join(
        f"<h3><a href=#s{number}>{as_html(sentence.id)}</a> <small>{_errors(sentence)}</small></h3>"
        + edits_html(sentence, vocabulary)
        for number, sentence in enumerate(wrong)
    )


def _all(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> str:
    legend = (
        "<p class=legend>The picture shows, from dark (0) to bright (1), how likely the CTC head thinks "
        "each gloss in every patch; below it the true signs, where they are known, and the found "
        "ones.</p>"
    )
    shown_whole = (
        f"<details><summary>{as_html(sentence.id)} <small>{_errors(sentence)}</small></summary>"
        f"<div id=s{number}>{edits_html(sentence, vocabulary)}"
        f"{timeline_html(sentence, vocabulary)}</div></details>"
        for number, sentence in enumerate(sentences)
    )
    return _LEGEND + legend + "\n".join(shown_whole)


def _errors(sentence: Sentence) -> str:
    counts = sentence.counts
    signer = f"{as_html(sentence.signer)}, " if sentence.signer else ""
    return (
        f"{signer}WER {counts.wer:.3f}: {counts.substitutions} S, {counts.deletions} D, "
        f"{counts.insertions} I in {counts.ref_glosses}"
    )

import html.parser
import re

import numpy as np

from tests.helpers.decoded import VOCABULARY, sentence, sentences
from wsign_jax.report import style
from wsign_jax.report.page import report_page
from wsign_jax.report.rejection import rejection_curve
from wsign_jax.report.summary import summarize

BINS = [
    {"confidence": 0.21, "accuracy": 0.345, "count": 17},
    {"confidence": 0.5, "accuracy": 0.5, "count": 0},
]
VOID = {"img", "meta", "br"}


class Outline(html.parser.HTMLParser):
    """Checks that tags nest, and keeps what the tests ask for."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(decoded, calibration=None, **settings):
    summary = summarize(decoded, VOCABULARY, settings, {"decode_seconds": 2.5}, calibration)
    return report_page(decoded, VOCABULARY, summary)


def test_the_page_is_whole_and_alone():
    text = page_of(sentences(), {"ece": 0.0312, "bins": BINS}, split="<b>", checkpoint=None)
    outline = Outline(text)
    assert text.startswith("<!doctype html>")
    assert not {tag for tag, _ in outline.tags} & {"script", "link", "iframe", "object", "b>"}
    addresses = [a.get("src") or a.get("href") for _, a in outline.tags if {"src", "href"} & set(a)]
    assert addresses
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 4
    for address in addresses:
        assert address.startswith("data:image/") or address.removeprefix("#") in ids
    assert "url(" not in style.STYLE
    assert "@import" not in style.STYLE


def test_every_picture_has_words_and_every_table_its_heads():
    outline = Outline(page_of(sentences(), {"bins": BINS}))
    pictures = [attributes for tag, attributes in outline.tags if tag == "img"]
    assert len(pictures) == 2 + 4
    assert all(attributes["alt"] for attributes in pictures)
    assert all(a.get("scope") == "col" for tag, a in outline.tags if tag == "th")


def test_the_page_says_the_figures():
    text = Outline(page_of(sentences(), {"ece": 0.0312, "bins": BINS}, decoder="joint")).text
    figures = ["0.429", "1 S, 0 D, 1 I in 4", "decode_seconds", "2.5", "joint", "0.0312", "0.345"]
    for figure in figures:
        assert figure in text
    assert "⚠" not in text


def test_the_page_of_single_signs_has_their_measures():
    text = Outline(page_of([sentence("a", (1,)), sentence("b", (2,), rank=3)])).text
    for said in ("top-1 accuracy0.500", "top-5 accuracy1.000", "mean reciprocal rank0.667"):
        assert said in text
    assert "top-1" not in page_of(sentences())


def test_warnings_come_before_the_figures():
    decoded = [sentence(str(n), (1, 2, 3, 4), (), patches=30) for n in range(6)]
    text = page_of(decoded)
    assert text.index("BLANK COLLAPSE") < text.index("word error rate")
    assert Outline(text).text.count("⚠") == 1


def test_sentences_come_worst_first():
    text = page_of(sentences())
    listed = re.findall(r"<details><summary>([^<]*) <small>", text)
    assert listed == ["ü(3)", "b 2", "d/4", "b 1"]
    worst = re.findall(r"<h3><a href=#s(\d)>([^<]*)</a>", text)
    assert worst == [("0", "ü(3)"), ("1", "b 2"), ("2", "d/4")]


def test_the_page_of_a_faultless_split():
    text = Outline(page_of([sentence()])).text
    assert "Every sentence is right." in text
    assert "No gloss was taken for another." in text


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_enough_in_light_and_dark():
    themes = [dict(re.findall(r"--(\w+):(#\w+)", part)) for part in style.STYLE.split("@media")[:2]]
    assert all(len(theme) == 14 for theme in themes)
    for theme in themes:
        pairs = [(kind, f"{kind}b") for kind in "CSDI"]
        pairs += [(ink, f"{kind}b") for ink in ("ink", "soft") for kind in "CSDI"]
        pairs += [(ink, "paper") for ink in ("ink", "soft", "link", *"CSDI")]
        pairs += [(ink, "card") for ink in ("ink", "soft", *"CSDI")]
        for above, below in pairs:
            dark, light = sorted(luminance(theme[name]) for name in (above, below))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (above, below)


def test_the_curve_of_unknown_signs_is_shown_with_the_threshold():
    summary = summarize(sentences(), VOCABULARY, {}, {}, None)
    assert "Unknown signs" not in report_page(sentences(), VOCABULARY, summary)
    curve = rejection_curve(np.array([1.0, 2, 3, 4]), np.array([0.0, 2]), below=1.5)
    outline = Outline(report_page(sentences(), VOCABULARY, summary | {"unknown_signs": curve}))
    assert "Unknown signs" in outline.text and "false_accepts0.5" in outline.text
    assert any("taken for unknown" in (a.get("alt") or "") for _, a in outline.tags)

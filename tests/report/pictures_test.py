import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image

from tests.helpers.decoded import NASTY, VOCABULARY, sentences
from wsign_jax.report import pictures
from wsign_jax.report.summary import summarize


def content(uri: str, kind: str) -> bytes:
    head, _, text = uri.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(text, validate=True)


def texts(uri: str) -> list[str]:
    root = ElementTree.fromstring(content(uri, "image/svg+xml"))
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def row(gloss, correct=0, deleted=0, inserted=0, **substituted_by):
    return {
        "gloss": gloss,
        "correct": correct,
        "deleted": deleted,
        "inserted": inserted,
        "substituted_by": substituted_by,
    }


def test_heat_map_has_one_pixel_a_probability():
    posteriors = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]], np.float16)
    png = content(pictures.heat_map(posteriors), "image/png")
    pixels = image.imread(io.BytesIO(png), format="png")
    assert pixels.shape == (2, 3, 4)
    brightness = pixels[..., :3].sum(axis=-1)
    assert brightness[0, 0] < brightness[0, 1] < brightness[0, 2]
    assert brightness[0, 2] == brightness[1, 0]
    assert brightness[0, 0] == brightness[1, 1]


def test_confusion_matrix_shows_names_and_counts():
    rows = [row("A", correct=71, deleted=13, B=9), row("B", correct=8, inserted=24), row("C")]
    shown = texts(pictures.confusion_matrix(rows))
    assert shown.count("A") == shown.count("B") == 2  # a row and a column
    assert {"71", "13", "9", "8", "24", "deleted", "inserted"} <= set(shown)
    assert "C" not in shown


def test_confusion_matrix_takes_the_most_frequent():
    rows = [row(f"G{n}", **{f"G{n + 1}": 1 + (n == 30)}) for n in range(40)] + [row("G40")]
    shown = texts(pictures.confusion_matrix(rows))
    assert {"G30", "G31"} <= set(shown)
    assert len({text for text in shown if text.startswith("G")}) == pictures.MATRIX_GLOSSES


def test_nothing_confused_no_matrix():
    assert pictures.confusion_matrix([row("A", correct=3, deleted=1)]) is None
    assert pictures.confusion_matrix([]) is None


@pytest.mark.parametrize("name", [*NASTY[1:], "$x^2$", "$", "\\alpha", "a\x00b", "N" * 300])
def test_any_name_can_stand_beside_a_matrix(name):
    shown = texts(pictures.confusion_matrix([row(name, correct=1, B=2), row("B")]))
    expected = {"a\x00b": "a�b", "N" * 300: "N" * 15 + "…", NASTY[2]: NASTY[2][:15] + "…"}
    assert shown.count(expected.get(name, name)) == 2


def test_pictures_are_the_same_every_time_and_follow_the_readers_colors():
    summary = summarize(sentences(), VOCABULARY, {}, {}, None)
    pair = [pictures.confusion_matrix(summary["by_gloss"]) for _ in range(2)]
    assert pair[0] == pair[1]
    svg = content(pair[0], "image/svg+xml").decode()
    assert "currentColor" in svg
    assert "prefers-color-scheme:dark" in svg
    assert "#010203" not in svg


def test_reliability_diagram():
    bins = [
        {"confidence": 0.2, "accuracy": 0.3, "count": 4},
        {"confidence": None, "accuracy": None, "count": 0},
        {"confidence": 0.9, "accuracy": 0.8, "count": 40},
    ]
    shown = texts(pictures.reliability_diagram(bins))
    assert {"confidence", "share that is right"} <= set(shown)
    assert pictures.reliability_diagram(bins) != pictures.reliability_diagram(bins[:2])
    assert texts(pictures.reliability_diagram(bins[1:2]))

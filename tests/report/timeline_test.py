import base64
import dataclasses
import io
import itertools
import re

import numpy as np
from matplotlib import image

from tests.helpers.decoded import VOCABULARY, sentence
from wsign_jax.report.timeline import as_html, edits_html, timeline_html


def bars(html: str, track: str) -> list[tuple[str, float, float, str, str]]:
    """(classes, left, width, top, text) of every bar of the true or the found track."""
    _, _, rest = html.partition(f"<span>{track}</span></div><div class=track")
    part, _, _ = rest.partition("</div>")
    found = re.findall(
        r'class="([^"]*)" style="left:([\d.]+)%;width:([\d.]+)%;top:calc\((\d+)\*.*?<i>(.*?)</i>',
        part,
    )
    return [(kind, float(left), float(width), top, text) for kind, left, width, top, text in found]


def test_bars_stand_where_the_signs_are():
    decoded = sentence(reference=(1, 3), hypothesis=(1, 4), patches=30)  # 2 s
    html = timeline_html(decoded, VOCABULARY)
    assert [bar[:3] for bar in bars(html, "true")] == [("C", 0.0, 50.0), ("S", 50.0, 50.0)]
    assert [bar[:3] for bar in bars(html, "found")] == [("C", 5.0, 45.0), ("S", 55.0, 45.0)]
    assert [bar[4] for bar in bars(html, "found")] == ["HELLO", "S (a)"]


def test_every_kind_of_error_has_its_letter():
    decoded = sentence(reference=(1, 2, 3, 4), hypothesis=(1, 5, 3, 4, 6))
    texts = [bar[4] for bar in bars(timeline_html(decoded, VOCABULARY), "found")]
    assert texts == ["HELLO", "S 100%", "TWO WORDS", "(a)", "I ÜBER"]
    decoded = sentence(reference=(1, 3), hypothesis=(3,))
    texts = [bar[4] for bar in bars(timeline_html(decoded, VOCABULARY), "true")]
    assert texts == ["D HELLO", "TWO WORDS"]
    edits = edits_html(decoded, VOCABULARY)
    assert re.findall(r"<li class=(.)>.*?<b title=\"(\w+)\">(.)</b>", edits) == [
        ("D", "deleted", "D"),
        ("C", "correct", "="),
    ]


def test_names_on_one_line_do_not_overlap():
    decoded = sentence(reference=(3,) * 12, hypothesis=(3,) * 12, patches=180)
    found = bars(timeline_html(decoded, VOCABULARY), "found")
    assert len({top for *_, top, _ in found}) > 1
    for top in {top for *_, top, _ in found}:
        lefts = sorted(left for _, left, _, line, _ in found if line == top)
        assert all(b - a > len("TWO WORDS") for a, b in itertools.pairwise(lefts))


def test_a_name_at_the_end_ends_with_its_bar():
    spans = np.array([[1.9, 2.0]])
    decoded = dataclasses.replace(sentence(reference=(3,), hypothesis=(3,)), spans=spans)
    assert bars(timeline_html(decoded, VOCABULARY), "found")[0][0] == "C end"


def test_times_outside_the_recording_stay_in_the_picture():
    spans = np.array([[-0.5, 1.0], [1.5, 2.5]])
    decoded = dataclasses.replace(sentence(reference=(1, 3), hypothesis=(1, 3)), spans=spans)
    found = bars(timeline_html(decoded, VOCABULARY), "found")
    assert [bar[1:3] for bar in found] == [(0.0, 50.0), (75.0, 25.0)]


def test_heat_map_rows_are_the_glosses_and_the_blank_last():
    decoded = sentence(reference=(1, 3), hypothesis=(1, 4), patches=30)
    html = timeline_html(decoded, VOCABULARY)
    names = html.split("<div class=names aria-hidden=true>")[1].split("</div>")[0]
    assert re.findall("<span>(.*?)</span>", names) == ["HELLO", "TWO WORDS", "(a)", "blank"]
    png = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    bright = image.imread(io.BytesIO(png), format="png")[..., :3].sum(axis=-1)
    np.testing.assert_array_equal(bright > bright.min(), decoded.posteriors.T[[1, 2, 3, 0]] > 0.5)


def test_what_is_not_known_is_left_out():
    decoded = sentence(timed=False)
    bare = dataclasses.replace(decoded, posterior_ids=(), posteriors=np.zeros((30, 0), np.float16))
    html = timeline_html(bare, VOCABULARY)
    assert "<img" not in html
    assert "<span>true</span>" not in html
    assert len(bars(html, "found")) == 3
    assert bars(timeline_html(sentence(hypothesis=()), VOCABULARY), "found") == []


def test_text_from_data_is_no_markup():
    assert as_html('<b a="1">&\x00\n') == "&lt;b a=&quot;1&quot;&gt;&amp;��"
    decoded = sentence(id="<i>", reference=(2,), hypothesis=(2,))
    for html in (edits_html(decoded, VOCABULARY), timeline_html(decoded, VOCABULARY)):
        assert "<script" not in html
        assert "&lt;script&gt;" in html

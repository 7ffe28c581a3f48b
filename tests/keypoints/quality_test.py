import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import quality
from wsign_jax.keypoints.quality import ClipReport


def report(left, right, flips=0, fps=30.0, score=0.9):
    """Of hands that are there where the string has an x."""
    seen = np.array([[c == "x" for c in hand] for hand in (left, right)]).T
    times = np.arange(round(len(seen) / 60 * fps)) / fps
    return quality.report_clip("a", "a.mp4", score * seen, 60.0, times.tolist(), flips)


def test_figures_of_a_clip():
    clip = report("..xx..xx.x" * 6, "x" * 60, flips=2)
    assert (clip.frames, clip.duration_s, clip.left_share, clip.right_share) == (60, 1.0, 0.5, 1.0)
    assert (clip.left_gaps, clip.right_gaps, clip.label_flips) == (17, 0, 2)
    assert clip.fps == pytest.approx(30.0) and clip.mean_score == pytest.approx(0.9)
    assert clip.warnings == "hands come and go" and clip.done


@pytest.mark.parametrize(
    ("clip", "warning"),
    [
        (report("." * 60, "x" * 20 + "." * 40), "no hand in 67% of it"),
        (report("." * 60, "x" * 60, flips=6), "left and right were often confused"),
        (report("." * 60, "x" * 60, score=0.6), "low score 0.60"),
        (report("." * 60, "x" * 60, fps=12.0), "only 12.0 fps"),
        (report("." * 10, "x" * 10), "very short"),
        (report("." * 60, "x" * 60), ""),
    ],
)
def test_what_a_person_should_look_at(clip, warning):
    assert clip.warnings == warning


def test_what_is_missing_of_a_clip_is_a_warning():
    missing = ["3 of its 9 pictures are missing"]
    clip = quality.report_clip(
        "a", "a.mp4", np.full((10, 2), 0.9), 60.0, [0.0, 0.1, 0.2], 0, missing
    )
    assert clip.warnings == "3 of its 9 pictures are missing; only 10.0 fps; very short"


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")))


@given(st.lists(st.builds(ClipReport, TEXT, TEXT, st.integers(0, 99), warnings=TEXT, problem=TEXT)))
def test_a_table_is_read_as_it_was_written(tmp_path_factory, clips):
    path = tmp_path_factory.mktemp("table") / "quality.csv"
    clips = [dataclasses.replace(clip, problem=clip.problem or None) for clip in clips]
    path.write_text(quality.table_of_clips(clips), encoding="utf-8")
    assert quality.read_quality(path) == sorted(clips, key=lambda clip: (clip.id, clip.source))


def test_a_row_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "quality.csv"
    whole = quality.table_of_clips([ClipReport("a", "a.mp4"), ClipReport("b", "b.mp4")])
    for length in range(len(quality.table_of_clips([ClipReport("a", "a.mp4")])), len(whole)):
        path.write_text(whole[:length])
        assert [clip.id for clip in quality.read_quality(path)] == ["a"]
    assert quality.read_quality(tmp_path / "none.csv") == []


def test_another_table_or_a_broken_row_is_named(tmp_path):
    path = tmp_path / "quality.csv"
    path.write_text("name,price\n")
    with pytest.raises(WSignError, match=r"quality.csv: is not a table of this extraction"):
        quality.read_quality(path)
    wrong = quality.table_row(ClipReport("a", "b")).replace("0", "much", 1)
    for broken in ("a,b\n", "x" * 200_000 + "\n", wrong):
        path.write_text(quality.table_of_clips([ClipReport("x", "x")]) + broken)
        with pytest.raises(WSignError, match=r"quality.csv:3: is not a row of this table"):
            quality.read_quality(path)


def test_the_summary_lists_what_failed_and_what_to_look_at():
    clips = [
        ClipReport("good", "g.mp4"),
        ClipReport("odd", "o.mp4", warnings="very short"),
        ClipReport("bad", "b.mp4", problem="is empty"),
    ]
    assert quality.summarize_clips(clips).splitlines() == [
        "2 of 3 clips have keypoints",
        "1 of them should be looked at:",
        "  odd: very short",
        "1 failed:",
        "  bad: is empty",
    ]

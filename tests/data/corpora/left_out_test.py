import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import left_out
from wsign_jax.data.corpora.records import Record

CLIPS = [Record("", f"{n}", ("A",), f"x/{n}") for n in range(40)]
NOISE = [Record("", f"n{n}", (), f"n/{n}") for n in range(5)]


def failed(clips, count):
    return [
        (clip, f"{clip.where}: no hand in any of its {n} frames")
        for n, clip in enumerate(clips[:count])
    ]


def test_many_problems_of_one_cause_are_one_line():
    lines = [line for _, line in failed(CLIPS, 8)]
    assert left_out.describe_problems([*lines, "x.csv:3: broken"]) == [
        "x/0: no hand in any of its 0 frames (and 7 more like it)",
        "x.csv:3: broken",
    ]
    assert left_out.describe_problems(lines[:3]) == lines[:3]


@pytest.mark.parametrize(
    ("on_bad", "clips", "count", "message"),
    [
        ("few", CLIPS, 2, None),
        ("few", CLIPS, 3, r"3 of 45 clips failed \(3 of 40 of A, over 5%\); .*\n  x/0: no hand"),
        ("few", NOISE, 5, None),
        ("error", CLIPS, 1, "1 of 45 clips failed; the others are kept"),
        ("skip", CLIPS, 30, None),
    ],
)
def test_a_few_clips_of_a_sign_may_fail(on_bad, clips, count, message):
    def check():
        left_out.check_clips(failed(clips, count), [*CLIPS, *NOISE], on_bad)

    if message is None:
        check()
    else:
        with pytest.raises(WSignError, match=message):
            check()

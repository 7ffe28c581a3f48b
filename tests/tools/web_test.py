"""tools/web.py's flags; tests/web has the page itself."""

import pytest


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "name a run with --checkpoint=RUN, or a folder with --record=DIR"),
        (["--checkpoint={tmp}/a.wsign"], "a.wsign: is a file; the page needs the run's folder"),
        (["--checkpoint={tmp}/gone"], "gone: no checkpoint"),
        (["--record={tmp}/r", "--out={tmp}/site"], "--record is for a page that is served"),
        (["--checkpoint={tmp}", "--out={tmp}"], "is not empty; name another --out"),
        (["--record={tmp}/r", "--assets={tmp}"], "vision-0.10.35.tgz: cannot be read"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path, flags, said):
    (tmp_path / "a.wsign").touch()
    status, printed = command("web.py", *(flag.format(tmp=tmp_path) for flag in flags))
    assert status == 2 and said in printed and printed.count("\n") == 1

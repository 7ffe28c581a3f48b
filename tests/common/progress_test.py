from wsign_jax.common import progress


def test_elsewhere_than_on_a_terminal_plain_lines_appear_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("stage2", 0, 100, "steps") as bar:
        for _ in range(50):
            now[0] += 1.0
            bar.advance("loss 1.500", "1.5")
        bar.note("a note")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[-1] == "a note"
    assert lines[0] == "stage2 10/100 steps  loss 1.500  0:01:30 left"


def test_the_last_line_comes_at_once_and_what_was_done_before_counts_for_nothing(
    capsys, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("keypoints", 7, 9, "clips") as bar:
        now[0] += 3700.0
        bar.advance("12 pictures/s")
        now[0] += 1.0
        bar.advance("13 pictures/s")
    assert capsys.readouterr().out.splitlines() == [
        "keypoints 8/9 clips  12 pictures/s  1:01:40 left",
        "keypoints 9/9 clips  13 pictures/s  0:00:00 left",
    ]


def test_on_a_terminal_there_is_a_bar_with_the_short_figures(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    with progress.Progress("stage2", 0, 2) as bar:
        bar.advance("loss 1.500", "1.5")
        bar.note("a [note]")
        bar.advance("loss 1.500", "1.5")
    out = capsys.readouterr().out
    assert "2/2" in out and " 1.5 " in out and "a [note]" in out and "loss" not in out

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def compare(*flags):
    command = [sys.executable, ROOT / "tools" / "compare_starts.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def report(out, seed, start, **splits):
    folder = out / str(seed) / start
    folder.mkdir(parents=True, exist_ok=True)
    for split, wer in splits.items():
        (folder / f"report_{split}.json").write_text(json.dumps({"wer": wer}))


def test_the_table_has_the_seeds_that_both_starts_have_finished(tmp_path):
    report(tmp_path, 1, "whisper", val=0.5, test=0.4)
    report(tmp_path, 1, "random", val=0.25, test=0.75)
    report(tmp_path, 3, "random", val=0.75, test=0.25)
    report(tmp_path, 3, "whisper", val=0.5, test=0.6)
    report(tmp_path, 2, "whisper", val=0.5, test=0.6)
    report(tmp_path, 2, "random", val=0.5)  # not finished
    done = compare("--report", f"--out={tmp_path}", "--seeds=1,2,3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "| start | seed 1 | seed 3 | mean | standard deviation |",
        "| --- | --- | --- | --- | --- |",
        "| whisper | 0.500 / 0.400 | 0.500 / 0.600 | 0.500 / 0.500 | 0.000 / 0.141 |",
        "| random | 0.250 / 0.750 | 0.750 / 0.250 | 0.500 / 0.500 | 0.354 / 0.354 |",
    ]


def test_mistakes_are_one_line(tmp_path):
    for flags, message in [
        (["--report", f"--out={tmp_path}"], "no seed is finished from both starts"),
        ([f"--out={tmp_path}"], "--whisper is missing"),
        (["--seeds=one"], "in the command line: invalid literal for int()"),
    ]:
        done = compare(*flags)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1

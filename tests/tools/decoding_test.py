"""tools/tune_decoder.py and tools/evaluate.py as a person runs them, one after the other."""

import json
import shutil

import pytest

from wsign_jax.evaluate import evaluate, tune
from wsign_jax.report import files, write

BEAM = "--decoder=prefix_beam"


def test_tuned_on_validation_evaluated_on_test_compared_with_greedy(opened, command, tmp_path):
    root, run = opened
    work = run.workdir
    greedy = tmp_path / "greedy"
    status, printed = command("evaluate.py", f"--checkpoint={work}", f"--out={greedy}")
    assert status == 0 and str(greedy / "report.html") in printed
    assert sorted(path.name for path in greedy.iterdir()) == sorted(write.NAMES)

    # Without the test split's features tuning works all the same.
    without = tmp_path / "without_test"
    shutil.copytree(root, without, ignore=lambda folder, names: {"test"} & set(names))
    status, printed = command(
        "tune_decoder.py", f"--checkpoint={work}", f"--data={without}", "--decoder=prefix_beam"
    )
    assert status == 0, printed
    assert printed.count("prefix_beam") == 2 and "lm 2 " in printed
    assert str(work / "decoder.json") in printed and (work / "lm_2.arpa").exists()
    rows = json.loads((work / "decoder.json").read_text())["decoders"]
    tuned = next(row for row in rows if row["lm"] == "2")

    status, printed = command(
        "evaluate.py", f"--checkpoint={work}", "--decoder=prefix_beam", "--lm=2",
        f"--against={greedy}",
    )  # fmt: skip
    assert status == 0 and f"against {greedy}" in printed
    folder = work / "evaluation" / "test_prefix_beam_2"
    report = json.loads((folder / "report.json").read_text())
    settings = report["settings"]
    assert all(settings[name] == tuned[name] for name in ("lm_weight", "label_bonus"))
    assert report["calibration"]["temperature"] == tuned["temperature"]
    assert report["against"]["wer"] == json.loads((greedy / "report.json").read_text())["wer"]
    hypotheses = files.read_trn(folder / "hyp.trn")
    lines = (folder / "hypotheses.jsonl").read_text().splitlines()
    assert {row["id"]: row["hypothesis"] for row in map(json.loads, lines)} == hypotheses

    # A report is never replaced unasked.
    again = ("evaluate.py", f"--checkpoint={work}", "--decoder=prefix_beam", "--lm=2")
    status, printed = command(*again)
    assert status == 2 and "there is a report already" in printed
    status, printed = command(*again, "--replace", "--label_bonus=4.5")
    assert status == 0, printed
    settings = json.loads((folder / "report.json").read_text())["settings"]
    assert settings["label_bonus"] == 4.5 and settings["lm_weight"] == tuned["lm_weight"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checkpoint={work}", "--data={root}/none"], "none: no such folder"),
        (["--checkpoint={work}", BEAM, "--lm={root}/cut.arpa"], "cut.arpa, line 6: the file ends"),
        (["--checkpoint={work}", "--against={root}"], "ref.trn: no such file"),
        (["--checkpoint={work}", BEAM, "--lm_weight=-1", "--lm=2"], "lm_weight is -1.0"),
        (["--checkpoint={work}", "--chunk=-1"], "chunk is -1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(opened, command, flags, message):
    root, run = opened
    (root / "cut.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1 G1\n")
    flags = [flag.format(root=root, work=run.workdir) for flag in flags]
    status, printed = command("evaluate.py", *flags)
    assert status == 2 and message in printed
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in printed


def test_an_interrupted_tuning_changes_nothing(opened, command, monkeypatch):
    _, run = opened
    flags = ("tune_decoder.py", f"--checkpoint={run.workdir}", "--decoder=prefix_beam", "--lm=2")
    kept = {run.workdir / name: f"of {name}" for name in ("lm_2.arpa", "tuned_before.json")}
    for path, content in kept.items():
        path.write_text(content)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "tune", interrupted)
    assert command(*flags)[0] == 130
    assert {path: path.read_text() for path in kept} == kept
    assert not (run.workdir / "decoder.json").exists()
    (run.workdir / "tuned_before.json").unlink()
    status, printed = command(*flags[:-1], "--lm=")
    assert status == 2 and "a language model ''; give 1 to 9" in printed
    status, printed = command(*flags[:2], "--decoder=best")
    assert status == 2 and "no 'best'; there are greedy, prefix_beam" in printed


def test_no_place_for_a_report_is_said_before_decoding(opened, command, monkeypatch, tmp_path):
    _, run = opened
    monkeypatch.setattr(evaluate, "evaluate_split", None)  # never called
    (tmp_path / "out" / "hyp.trn").mkdir(parents=True)
    flags = ("evaluate.py", f"--checkpoint={run.workdir}", f"--out={tmp_path / 'out'}", "--replace")
    status, printed = command(*flags)
    assert status == 2 and printed == f"error: {tmp_path}/out/hyp.trn: is a folder; name a file\n"

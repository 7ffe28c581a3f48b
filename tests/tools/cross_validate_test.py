"""tools/cross_validate.py as a person runs it."""

import json

import pytest

from tests.data.folds_test import grouped
from wsign_jax.report import files


@pytest.mark.usefixtures("standard_promotion")
def test_two_recipes_are_compared_on_the_same_folds(dataset, command, tmp_path):
    grouped(dataset, "session", ["one", "two"])
    flags = (
        "--config=tests/helpers/small.py", f"--config.data.dir={dataset}", "--folds=session",
        "--config.training.max_steps=2", "--config.stage2.epochs=1", "--config.data.max_buckets=1",
    )  # fmt: skip
    first, second, mirror = tmp_path / "first", tmp_path / "second", tmp_path / "mirror"
    flags = (*flags, f"--config.checkpoint.mirror={mirror}")  # each fold has its own in it
    status, printed = command("cross_validate.py", *flags, f"--out={first}")
    assert status == 0, printed
    assert "fold 1 of 2, one: 7 examples train, 1 validate, 9 test" in printed
    report = json.loads((first / "report.json").read_text())
    rows = report["folds"]["rows"]
    assert [(row["fold"], row["sentences"]) for row in rows] == [("one", 9), ("two", 8)]
    assert report["folds"]["mean"] == pytest.approx((rows[0]["wer"] + rows[1]["wer"]) / 2)
    assert report["folds"]["spread"] == pytest.approx(abs(rows[0]["wer"] - rows[1]["wer"]) / 2**0.5)
    assert len(files.read_trn(first / "hyp.trn")) == report["sentences"] == 17
    # The trainings are there already: only the report is written anew.
    status, printed = command("cross_validate.py", *flags, f"--out={first}", "--replace")
    assert status == 0 and "steps  loss" not in printed
    assert json.loads((first / "report.json").read_text())["wer"] == report["wer"]

    other = (*flags[:-1], f"--out={second}", "--config.stage2.lr=1e-4", f"--against={first}")
    status, printed = command("cross_validate.py", *other)
    assert status == 0 and f"against {first}, WER {report['wer']:.4f}" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splits=train,vale"], "'vale' is not train, val or test"),
        (["--folds=signer"], "the signer of 17 of 17 examples is not known"),
        (["--config.data.dir="], "config.data.dir is empty"),
        (["--config.stage2.lrr=1"], "lrr"),
        (["--workdir=runs/x"], "--workdir: the folds' runs go into --out"),
        (["--config.mode=evaluate"], "config.mode are not for folds"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(dataset, command, tmp_path, flags, message):
    status, printed = command(
        "cross_validate.py", "--config=tests/helpers/small.py", f"--config.data.dir={dataset}",
        f"--out={tmp_path / 'out'}", *flags,
    )  # fmt: skip
    assert status == 2 and message in printed and printed.count("error: ") == 1
    assert not (tmp_path / "out").exists()

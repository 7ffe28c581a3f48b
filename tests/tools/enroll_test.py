"""tools/enroll.py as a person runs it."""

import shutil

import numpy as np
import pytest

from tests.helpers.signs import sign


@pytest.fixture(scope="module")
def work(talkative_run, tmp_path_factory):
    """A copy of a run, and recordings of two signs."""
    folder = tmp_path_factory.mktemp("enroll")
    for seed in (1, 2):
        (folder / f"sign{seed}").mkdir()
        for number in range(2):
            np.save(folder / f"sign{seed}" / f"{number}.npy", sign(seed, 60 + number, noise=0.1))
    np.save(folder / "odd.npy", np.zeros((90, 42, 7), np.float32))
    shutil.copytree(talkative_run, folder / "run")
    return folder


def test_enroll_list_predict_forget(work, command):
    run = f"--checkpoint={work / 'run'}"
    assert command("enroll.py", run, "--list") == (0, "")
    status, printed = command("enroll.py", run, "--sign=MINE", work / "sign1")
    assert status == 0 and "MINE\t2\n" in printed
    assert "note: in sentences it may take the place of trained signs" in printed
    status, printed = command("enroll.py", run, "--sign=G2", "--replace", work / "sign2" / "0.npy")
    assert status == 0 and "MINE\t2\nG2\t1\n" in printed
    status, printed = command("predict.py", run, work / "sign1" / "0.npy")
    assert status == 0 and "MINE" in printed
    assert command("enroll.py", run, "--list") == (0, "MINE\t2\nG2\t1\n")
    assert command("enroll.py", run, "--forget=MINE") == (0, "G2\t1\n")
    status, printed = command("predict.py", run, work / "sign1" / "0.npy")
    assert status == 0 and "MINE" not in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "one of the arguments --sign --forget --list is required"),
        (["--sign=NEW"], "--sign: name the recordings"),
        (["--list", "{work}/odd.npy"], "recordings, --model and --replace go with --sign"),
        (
            ["--sign=G1", "{work}/sign1"],
            "'G1': the model knows 'G1'; to add",
        ),
        (["--sign=NEW", "{work}/odd.npy"], "odd.npy: no hand is seen in it"),
        (["--sign=NEW", "{work}/gone.npy"], "gone.npy: no such file"),
        (["--forget=NEW"], "'NEW' is not enrolled"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(work, command, flags, message):
    given = [flag.format(work=work) for flag in flags]
    status, printed = command("enroll.py", f"--checkpoint={work / 'run'}", *given)
    assert status == 2 and message in printed and "Traceback" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1

"""Training from the page: which commands run, what is told of them, and how they end."""

import pathlib
import shlex

import pytest

from tests.helpers.processes import ROOT
from tests.web.conftest import wait_for
from wsign_jax.common.errors import WSignError
from wsign_jax.web import training


def at_step(trains):
    """Waits until the second command counts steps."""
    return wait_for(lambda: (told := trains.progress())["of"] == 5 and told["step"] and told)


def end_of(trains):
    """Waits until a training has ended; how."""
    return wait_for(lambda: (told := trains.progress())["state"] not in training.STEPS and told)


def test_commands_write_new_folders_and_run_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for taken in ("data/my_signs", "runs/my_signs-2", "runs/my_signs-3.log"):
        pathlib.Path(taken).mkdir(parents=True)
    plan = training.next_plan(tmp_path / "my_signs", ROOT)
    assert shlex.join(plan.commands[1]) == (
        f"python -m wsign_jax.main --config={ROOT}/configs/asl.py --config.data.dir=data/my_signs-4 "
        "--workdir=runs/my_signs-4"
    )
    first = shlex.join(training.make_plan(pathlib.Path("my signs"), "new").commands[0])
    assert first == "python tools/prepare_corpus.py auto '--root=my signs' --out=data/new"


def test_four_commands_make_a_model(small_training):
    trains = small_training()
    told = trains.progress()
    assert (told["state"], told["model"]) == ("idle", "") and "--out" not in told["commands"][-1]
    trains.start()
    with pytest.raises(WSignError, match="a training is on; wait until it ends, or stop it"):
        trains.start()
    told = at_step(trains)
    # The half of a line is not read; two of the three steps are the first stage's.
    assert (told["state"], told["stage"], told["step"]) == ("training", "stage2", 1)
    assert told["line"] == "stage2: 5 steps" and "runs/takes-2" not in told["commands"][-1]
    pathlib.Path("go").touch()
    told = end_of(trains)
    assert (told["state"], told["model"]) == ("done", "model-1")
    assert told["line"] == "to open it again: python tools/web.py --checkpoint=runs/takes"
    assert told["commands"][-1].endswith("runs/takes-2")
    assert trains.files["model-1/stream.json"].read_text() == "new"
    assert pathlib.Path("runs/takes.log").read_text().count("$ python -c") == 4
    trains.start()
    assert end_of(trains)["model"] == "model-2"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("first", "print('1 clip'); sys.exit('error: one take\\n  too few')", "one take; too few"),
        ("second", "raise ValueError('odd')", "ValueError: odd; see runs/takes.log"),
        ("tuning", "sys.exit(2)", "it said nothing; see runs/takes.log"),
        ("first", "os.kill(os.getpid(), 9)", "ended by SIGKILL; see runs/takes.log"),
        ("page", "pass", "models/model-1: No such file or directory"),
    ],
)
def test_what_fails_says_why(small_training, command, code, said):
    pathlib.Path("go").touch()
    trains = small_training(**{command: code})
    trains.start()
    told = end_of(trains)
    line = told["line"].removeprefix(f"{pathlib.Path.cwd()}/")
    assert (told["state"], line, told["model"]) == ("failed", said, "")


def test_a_training_that_is_stopped_says_how_to_go_on(small_training, capsys):
    trains = small_training()
    with pytest.raises(WSignError, match="no training is on"):
        trains.stop()
    trains.close()
    for _ in range(2):
        trains.start()
        at_step(trains)
        trains.close()  # as the end of the server does
    assert (
        "saves and ends; Ctrl-C ends it at once\nthe training: stopped" in capsys.readouterr().out
    )
    told = trains.progress()
    assert told["state"] == "idle" and "; runs/takes-2 goes on with: python -c" in told["line"]


def test_the_end_of_the_server_waits_for_a_training_that_saves(small_training):
    trains = small_training("""
def save(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("on", flush=True)
time.sleep(600)
""")
    trains.start()
    wait_for(lambda: trains.progress()["line"] == "on")
    trains.stop()
    trains.close()
    assert pathlib.Path("saved").exists()


def test_a_second_stop_ends_what_does_not_listen(small_training):
    trains = small_training(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True)\ntime.sleep(600)"
    )
    trains.start()
    wait_for(lambda: trains.progress()["line"] == "on")
    trains.stop()
    assert trains.progress()["line"].startswith("it saves and ends")
    trains.stop()
    assert end_of(trains)["line"] == "stopped"  # no data set, nothing to go on with

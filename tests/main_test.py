"""The command as a person types it, for what goes wrong before anything is trained."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from wsign_jax import main
from wsign_jax.common.errors import WSignError

ROOT = pathlib.Path(main.__file__).parents[1]
DEMO = f"--config={ROOT / 'configs' / 'demo.py'}"


def parse(*flags):
    return main.parse(["main", *flags])


def test_overrides_and_the_workdirs_default():
    config, workdir = parse(DEMO, "--config.stage2.lr=1", "--config.stages=('stage2',)")
    assert workdir == pathlib.Path("runs/demo")
    assert config.stage2.lr == 1.0 and config.stages == ("stage2",)
    assert parse(DEMO, "--workdir=/tmp/x y")[1] == pathlib.Path("/tmp/x y")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--config is missing; for a first run: --config=configs/demo.py"),
        ([DEMO, "--config.stage2.lrr=1"], 'Did you mean "lr" instead of "lrr"?'),
        ([DEMO, "--config.stge2.lr=1"], 'Did you mean "stage2" instead of "stge2"?'),
        ([DEMO, "--confg.stage2.lr=1"], "Unknown command line flag 'confg.stage2.lr'"),
        ([DEMO, "--config.stage2.lr=fast"], "could not convert string to float: 'fast'"),
        ([DEMO, "train"], "'train' is not a flag; write --config.FIELD=VALUE"),
        (["--config=configs/nowhere.py"], "No such file or directory: 'configs/nowhere.py'"),
    ],
)
def test_a_mistake_in_the_call_is_answered_in_one_line(flags, message):
    with pytest.raises(WSignError) as error:
        parse(*flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_flags_that_come_later_override():
    config, workdir = parse(DEMO, "--config.restart=True", "--workdir=a", "--workdir=a/restart_1")
    assert config.restart and workdir == pathlib.Path("a/restart_1")
    config, _ = parse(DEMO, "--config.restart=True", "--config.restart=False")
    assert not config.restart


def run(capsys, *flags):
    """Exit status and stderr of the command."""
    with pytest.raises(SystemExit) as stop:
        main.main(["main", *flags])
    return stop.value.code, capsys.readouterr().err


@pytest.fixture
def call(tmp_path, dataset, capsys):
    """Runs stage 2 on `dataset` with further flags."""
    flags = [f"--config={ROOT / 'configs' / 'stage2.py'}", f"--workdir={tmp_path / 'work'}"]
    return lambda *more: run(capsys, *flags, f"--config.data.dir={dataset}", *more)


BAD_DATA = {
    "missing split": (lambda d: shutil.rmtree(d / "val"), "val split is empty"),
    "torn file": (
        lambda d: (d / "train/features/train_01.npy").write_bytes(b"\x93NUMPY"),
        "train/features/train_01.npy: unreadable",
    ),
    "no label map": (lambda d: (d / "label_map.json").unlink(), "label_map.json: no such file"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_exits_with_2_and_names_the_file(call, dataset, tmp_path, case):
    spoil, message = BAD_DATA[case]
    spoil(dataset)
    code, err = call()
    assert code == 2 and err.startswith("error: ") and message in err
    assert "Traceback" not in err
    assert not (tmp_path / "work").exists(), "something was written"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.stage2.batch_size=0", "config.stage2.batch_size is 0"),
        ("--config.stage2.rules=(('encoder/.*','train'),)", "no rule covers 'ctc_head/bias'"),
        ("--config.init_from=nowhere", "nowhere holds no checkpoint"),
        ("--config.data.dir=nowhere", "python tools/make_synthetic.py nowhere"),
        ("--config.model.vocab_size=3", "config.model.vocab_size is 3, but"),
        ("--config.mode=evaluate", "no checkpoint in it"),
    ],
)
def test_bad_settings_exit_with_2_and_name_the_field(call, flag, message):
    code, err = call(flag)
    assert code == 2 and message in err and "Traceback" not in err


def test_as_a_person_runs_it(tmp_path):
    command = [sys.executable, "-m", "wsign_jax.main", "--config=configs/stage2.py", "--confg=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: in the command line: Unknown command line flag 'confg'. Did you mean: config ?"
    ]


def test_help_prints_the_usage(capsys):
    main.main(["main", "--help"])
    assert "--config=configs/demo.py" in capsys.readouterr().out


def test_training_does_not_import_mediapipe():
    code = (
        "import sys; from wsign_jax.evaluate import evaluate; from wsign_jax.train import loop; "
        "sys.exit(any(m.split('.')[0] in ('mediapipe', 'av', 'cv2') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_unreadable_config_is_one_line(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    with pytest.raises(WSignError, match=r"\A.*\Z"):
        parse(f"--config={tmp_path / 'broken.py'}")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("c.stage2.lr = 'x'", "(c.stage2.lr = 'x'): lr is 'x'; it must be a number"),
        (
            "c.stages = {'stage1'}",
            "(c.stages = {'stage1'}): stages is {'stage1'}; it must be a tuple",
        ),
        ("c.stage2.epochs = 1.5", "epochs is 1.5; it must be a whole number"),
        ("c.model = 3", "model is 3; it must be a block of fields"),
        (
            "c.lock(); c.lrr = 1",
            '"lrr" does not exist and cannot be added since the config is locked.',
        ),
        ("1 / 0", "(1 / 0): ZeroDivisionError: division by zero"),
        ("import nothing_such", "ModuleNotFoundError: No module named 'nothing_such'"),
    ],
)
def test_a_config_file_that_fails_is_answered_with_its_line(tmp_path, lines, message):
    file = tmp_path / "own.py"
    file.write_text(
        f"from configs import base\ndef get_config():\n c = base.get_config()\n {lines}\n return c\n"
    )
    with pytest.raises(WSignError) as error:
        parse(f"--config={file}")
    assert str(error.value).startswith(f"{file}, line 4 (")
    assert str(error.value).endswith(message)
    assert "\n" not in str(error.value)


def test_a_config_file_that_gives_no_config_says_so(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def get_config():\n    return 3\n")
    with pytest.raises(WSignError, match=r"get_config\(\) must return a ConfigDict, not 3"):
        parse(f"--config={file}")

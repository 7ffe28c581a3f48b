import json
import mmap
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from tests.helpers.processes import ROOT
from tools.benchmark import checkpoint, figures, parts, stream, table
from wsign_jax.common.errors import WSignError

# Parts that measure nothing, to run in the place of the real ones.
GOOD = """
import json, sys
if "--check" in sys.argv:
    print("error: argument --steps: counts, from 1 on", file=sys.stderr)
    sys.exit(2 if "--steps=0" in sys.argv else 0)
path = next(flag.removeprefix("--json=") for flag in sys.argv if flag.startswith("--json="))
json.dump(FIGURES, open(path, "w"))
open(__file__ + ".ran", "w").write(" ".join(flag for flag in sys.argv[1:] if "--json" not in flag))
"""
MACHINE = {"cpu": "abacus", "cores": 2, "memory_gb": 4.0, "devices": "1 x cpu", "load": 0.5}


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Puts a script in the place of a part, or one that finds some figures -> its path."""
    monkeypatch.setattr(parts, "PACKAGE", "in_their_place")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "in_their_place").mkdir()
    monkeypatch.setattr(figures, "machine", lambda: MACHINE)

    def put(name, script=None, **found):
        path = tmp_path / "in_their_place" / f"{name}.py"
        path.write_text(script or GOOD.replace("FIGURES", repr(found)))
        return path

    return put


def rows(printed):
    """{figure: its cells} of the table."""
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {cell[0]: cell[1:] for cell in cells}


def test_figures_of_the_parts_become_a_table_and_a_file(part, command, tmp_path):
    part("loader", shapes=9, padding_efficiency=0.95)
    decode = part("decode", beam_vs_greedy_ratio=2.5)
    out = tmp_path / "new" / "figures.json"
    flags = ("--only=decode,loader", f"--out={out}", "--decode.batch=2", "--decode.fast")
    status, printed = command("benchmark/__main__.py", *flags)
    assert status == 0, printed
    assert rows(printed) == {
        "shapes": ["9", "<= 8", "NO"],
        "padding_efficiency": ["0.95", ">= 0.9", "yes"],
        "beam_vs_greedy_ratio": ["2.5", "", ""],
    }
    assert "abacus, 2 cores" in printed and "jax 0." in printed
    assert decode.with_name("decode.py.ran").read_text() == "--batch=2 --fast"
    record = json.loads(out.read_text())
    assert record["figures"]["shapes"] == 9 and record["machine"] == MACHINE
    assert record["parts"]["decode"]["status"] == "ok" and record["parts"]["decode"]["seconds"] >= 0
    assert record["versions"].keys() >= {"python", "jax", "orbax-checkpoint", "numpy"}

    status, again = command("benchmark/__main__.py", f"--markdown={out}")
    assert status == 0 and again in printed


def test_a_file_that_is_there_is_not_overwritten_and_nothing_runs(part, command, tmp_path):
    decode, out = part("decode", beam_vs_greedy_ratio=2.5), tmp_path / "figures.json"
    out.write_text("mine")
    status, printed = command("benchmark/__main__.py", "--only=decode", f"--out={out}")
    assert status == 2 and f"{out} is there already" in printed and printed.count("\n") == 1
    assert out.read_text() == "mine" and not decode.with_name("decode.py.ran").exists()


def test_an_earlier_run_is_compared_with(part, command, tmp_path, monkeypatch):
    part("decode", beam_vs_greedy_ratio=2.5, beam_bigram_vs_greedy_ratio=3.0)
    earlier = tmp_path / "earlier.json"
    assert command("benchmark/__main__.py", "--only=decode", f"--out={earlier}")[0] == 0
    part("decode", beam_vs_greedy_ratio=5.0, beam_trigram_vs_greedy_ratio=4.0)
    flags = ("--only=decode", f"--against={earlier}")
    status, printed = command("benchmark/__main__.py", *flags)
    assert status == 0 and "WARNING" not in printed, printed
    assert rows(printed)["beam_vs_greedy_ratio"] == ["5", "", "", "2.5", "2.000"]
    assert rows(printed)["beam_trigram_vs_greedy_ratio"] == ["4", "", "", "", ""]

    monkeypatch.setattr(figures, "machine", lambda: MACHINE | {"cores": 64, "load": 9.0})
    _, printed = command("benchmark/__main__.py", *flags)
    busy, changed = (line for line in printed.splitlines() if line.startswith("WARNING"))
    assert busy == "WARNING: something else runs here (load 9.0)"
    assert changed.endswith(": cores: 2 then, 64 now")

    monkeypatch.setattr(figures, "machine", lambda: MACHINE)
    _, printed = command("benchmark/__main__.py", *flags, "--decode.repeats=1")
    (warning,) = (line for line in printed.splitlines() if line.startswith("WARNING"))
    assert warning.endswith(": decode: none then, --repeats=1 now")
    assert "with --decode.repeats=1\n" in printed
    part("loader", shapes=8)
    _, printed = command("benchmark/__main__.py", "--only=loader", f"--against={earlier}")
    assert "The earlier run has no figure of these." in printed

    for strange in ("{}", '{"machine": 1, "versions": 2, "figures": 3, "parts": 4}'):
        earlier.write_text(strange)
        status, printed = command("benchmark/__main__.py", *flags)
        assert status == 2 and "earlier.json: not written by tools.benchmark" in printed


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("import sys; print('error: no video', file=sys.stderr); sys.exit(2)", "no video"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("", "it wrote no figures"),
        (GOOD.replace("FIGURES", "{'shapes': 7}"), "another part has measured shapes too"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_go_on(part, command, script, reason, tmp_path):
    part("loader", shapes=8)
    part("peer", script or "pass")
    part("decode", beam_vs_greedy_ratio=2.5)
    out = tmp_path / "figures.json"
    status, printed = command("benchmark/__main__.py", "--only=loader,peer,decode", f"--out={out}")
    assert status == 1
    assert f"\n\npeer failed: {reason}" in printed
    assert json.loads(out.read_text())["figures"] == {"shapes": 8, "beam_vs_greedy_ratio": 2.5}


def test_a_part_whose_measuring_takes_a_process_of_its_own_gives_its_figures(tmp_path):
    out = tmp_path / "figures.json"
    flags = ["--size=tiny", "--frames=60", "--rounds=1", f"--json={out}"]
    command = [sys.executable, "-m", "tools.benchmark.recognize", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    assert "recognize_first_seconds" in out.read_text()


# Runs Python with its arguments; Ctrl-C counts, which a shell's `&` has programs ignore.
HEEDING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_run_that_is_stopped_shows_what_it_has_and_leaves_no_part_behind(tmp_path):
    out = tmp_path / "figures.json"
    flags = ["--only=decode,stream,recognize", "--decode.batch=1", "--decode.patches=20"]
    flags += ["--decode.repeats=1", "--stream.size=tiny", "--stream.minutes=200", f"--out={out}"]
    command = [sys.executable, "-c", HEEDING, "-u", "-m", "tools.benchmark", *flags]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        late = threading.Timer(400, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("--- stream (2 of 3)"):
                process.send_signal(signal.SIGINT)
                break
        printed += process.stdout.read()  # until the part too has ended, which writes there
        late.cancel()
    assert process.returncode == 130, printed
    assert printed.endswith("\nstream interrupted\nrecognize not run\n"), printed
    record = json.loads(out.read_text())
    assert [part["status"] for part in record["parts"].values()] == ["ok", "interrupted", "not run"]
    assert all(name in printed for name in record["figures"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only=decode,dekode"], "'dekode' is not one of loader, step, epoch, cold_start, peer"),
        (["--only=decode", "--peer.rounds=3"], "'--peer.rounds=3' is of a part that --only leaves"),
        (["--only=decode", "--decode.rounds", "3"], "'3' is unknown; flags of a part are --PART."),
        (["--outt=a.json"], "'--outt=a.json' is unknown"),
        (["--against=nowhere.json"], "nowhere.json: No such file"),
    ],
)
def test_mistakes_are_one_line(part, command, flags, message):
    status, printed = command("benchmark/__main__.py", *flags)
    assert status == 2 and message in printed and printed.count("\n") == 1, printed


def test_a_part_whose_flags_are_bad_is_found_before_any_part_runs(part, command, tmp_path):
    decode, step, out = part("decode"), part("step"), tmp_path / "new" / "figures.json"
    flags = ("--only=step,decode", "--decode.batch=2", "--step.steps=0", f"--out={out}")
    status, printed = command("benchmark/__main__.py", *flags)
    assert status == 2
    assert printed == "error: in the command line: step: argument --step.steps: counts, from 1 on\n"
    assert not any(p.with_name(f"{p.name}.ran").exists() for p in (decode, step))
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("stream", ["--minutes=0"], "argument --stream.minutes: '0' is not a whole number from"),
        (
            "stream",
            ["--size=tiny,huge"],
            "argument --stream.size: 'huge' is not one of tiny, small",
        ),
        ("step", ["--stepss=3"], "unrecognized arguments: --step.stepss=3"),
        ("extract", ["--minutes=nan"], "argument --extract.minutes: 'nan' is not a number from 0"),
        ("extract", ["--video=my--clip.mp4"], "argument --extract.video: my--clip.mp4: no such"),
        ("peer", ["--torch_python=/no/python"], "--peer.torch_python: /no/python: no such program"),
    ],
)
def test_a_real_part_looks_at_its_flags_before_it_measures(name, flags, message):
    with pytest.raises(WSignError, match=re.escape(message)):
        parts.check(name, flags)


def test_good_flags_of_a_real_part_measure_nothing(tmp_path):
    parts.check("decode", ["--batch=2", f"--json={tmp_path / 'figures.json'}"])
    assert not (tmp_path / "figures.json").exists()


def test_a_real_part_runs_in_a_process_of_its_own(command, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "machine", lambda: MACHINE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # whatever else is installed
    small = ("batch=2", "patches=20", "glosses=10", "beam_size=2", "repeats=1")
    flags = (f"--decode.{flag}" for flag in small)
    status, printed = command("benchmark/__main__.py", "--only=decode", *flags)
    assert status == 0, printed
    names = ("beam", "beam_bigram", "beam_trigram")
    assert [*rows(printed)] == [f"{name}_vs_greedy_ratio" for name in names]


def test_extraction_says_that_it_needs_a_video(command):
    status, printed = command("benchmark/extract.py")
    assert status == 2 and printed.startswith("error: --video=FILE is missing")


def test_figures_of_a_stream(capsys):
    found = stream.measure("tiny", chunk=8, left_context=8, minutes=1, glosses=5)
    milliseconds = [found[f"stream_tiny_p{quantile}_ms"] for quantile in (50, 95, 99)]
    assert 0 < milliseconds[0] <= milliseconds[1] <= milliseconds[2]
    assert found["stream_tiny_realtime_factor"] > 0
    assert "first minute" in capsys.readouterr().out


def test_a_checkpoint_costs_the_stall_and_what_steps_meanwhile_are_slower():
    save = checkpoint.Save(quiet=[1.0, 1.0, 9.0], stalled=2.0, busy=[1.5, 1.25])
    assert save.cost == 2.75
    assert checkpoint.share([save], every_seconds=98.0, every_steps=1000) == pytest.approx(0.0275)
    assert checkpoint.share([save], every_seconds=98.0, every_steps=48) == pytest.approx(0.055)


def test_the_readme_names_every_part_and_every_figure_with_a_target():
    text = (ROOT / "tools/benchmark/README.md").read_text(encoding="utf-8")
    assert [name for name in (*parts.PARTS, *table.TARGETS) if f"`{name}`" not in text] == []


@pytest.mark.skipif(not figures.knows_memory(), reason="Linux tells it")
def test_peak_memory_is_the_most_since_it_was_forgotten():
    megabyte = 2**20
    figures.forget_peak_memory()
    before = figures.peak_memory()
    with mmap.mmap(-1, 64 * megabyte) as block:  # what is freed elsewhere may be in use again
        block.write(b"x" * len(block))
        with_block = figures.peak_memory()
    assert figures.peak_memory() == pytest.approx(with_block, abs=megabyte)
    figures.forget_peak_memory()
    assert with_block - before > 60 * megabyte
    assert with_block - figures.peak_memory() > 60 * megabyte

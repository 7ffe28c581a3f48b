import os
import pathlib
import re
import subprocess
import sys

from wsign_jax import main
from wsign_jax.data import layout, validate
from wsign_jax.data.buckets import find_buckets

ROOT = pathlib.Path(main.__file__).parents[1]


def describe(*flags):
    command = [sys.executable, "tools/describe.py", *flags]
    here = os.environ | {"PYTHONPATH": str(ROOT)}  # whatever else is installed
    return subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, check=False)


def test_groups_and_parameters_add_up_to_the_whole():
    done = describe("--config=configs/demo.py")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^( *)(\S+) +[\dx]* +([\d,]+)(?:  .*)?$", done.stdout, re.MULTILINE)
    counts = {True: 0, False: 0}
    for indent, name, count in rows:
        if name != "all":
            counts[bool(indent)] += int(count.replace(",", ""))
        else:
            total = int(count.replace(",", ""))
    assert counts[True] == counts[False] == total > 800_000
    assert re.search(r"  frontend/conv/kernel +7x128 +896\n", done.stdout)
    assert done.stdout.count("freeze") == 2


def test_a_mistake_is_one_line():
    done = describe("--config=configs/base.py", "--config.data.dir=nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere/label_map.json") and done.stderr.count("\n") == 1


def test_memory_is_that_of_the_data_sets_own_buckets(dataset):
    flags = (
        f"--config.data.dir={dataset}",
        "--config.model.size=tiny",
        "--config.data.max_buckets=2",
    )
    done = describe("--config=configs/stage2.py", "--memory", *flags)
    assert done.returncode == 0, done.stderr
    split = layout.read_split(dataset, "train", validate.Rules(6, 4, 1500))
    own = find_buckets(split.frames, 2)
    assert [int(n) for n in re.findall(r"16 x (\d+) +frames", done.stdout)] == list(own)
    assert "all of it fits" in done.stdout


def test_memory_without_a_data_set_assumes_lengths_and_says_so():
    flags = ("--config=configs/demo.py", "--workdir=nowhere", "--memory", "--gigabytes=0.01")
    done = describe(*flags, "--config.stages=('stage1',)")
    assert done.returncode == 0, done.stderr
    assert (
        "no data set in nowhere/data: lengths and 32 glosses a sentence are assumed" in done.stdout
    )
    assert re.findall(r"8 x (\d+) +frames", done.stdout) == ["512", "1008", "1504"]
    assert "nothing makes it fit" in done.stdout


def test_a_mistake_in_memorys_flags_is_one_line():
    for flag in ("--gigabytes=much", "--gigabytes=0", "--devices=0"):
        done = describe("--config=configs/demo.py", "--memory", flag)
        assert done.returncode == 2
        assert done.stderr.startswith("error: in the command line: "), done.stderr
        assert flag.partition("=")[0] in done.stderr and done.stderr.count("\n") == 1

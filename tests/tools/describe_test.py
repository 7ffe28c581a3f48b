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


def test_memory_is_what_the_compiler_plans_for_the_longest_bucket(dataset):
    flags = ("--config=tests/helpers/small.py", "--memory", "--config.data.max_seq_length=100")
    planned = []
    for data, length in ((dataset, None), ("nowhere", 128)):
        done = describe(*flags, f"--config.data.dir={data}", "--config.model.vocab_size=6")
        assert done.returncode == 0, done.stderr
        assert ("no data set in nowhere: 128 frames" in done.stdout) == (data == "nowhere")
        (found,) = re.findall(r"stage2: 4 x (\d+) frames.* temporaries (\S+),", done.stdout)
        split = layout.read_split(dataset, "train", validate.Rules(6, 4, 100))
        assert int(found[0]) == (length or find_buckets(split.frames, 2)[-1])
        planned.append(float(found[1]))
    assert 0 < planned[0] < planned[1]

import pathlib
import re
import subprocess
import sys

from wsign_jax import main

ROOT = pathlib.Path(main.__file__).parents[1]


def describe(*flags):
    command = [sys.executable, "tools/describe.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


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

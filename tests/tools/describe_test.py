import re

import pytest

from wsign_jax.data import layout, validate
from wsign_jax.data.buckets import find_buckets


def test_groups_and_parameters_add_up_to_the_whole(command):
    status, printed = command("describe.py", "--config=configs/demo.py")
    assert status == 0, printed
    rows = re.findall(r"^( *)(\S+) +[\dx]* +([\d,]+)(?:  .*)?$", printed, re.MULTILINE)
    counts = {True: 0, False: 0}
    for indent, name, count in rows:
        if name != "all":
            counts[bool(indent)] += int(count.replace(",", ""))
        else:
            total = int(count.replace(",", ""))
    assert counts[True] == counts[False] == total > 800_000
    assert re.search(r"  frontend/conv/kernel +7x128 +896\n", printed)
    assert printed.count("freeze") == 2


def test_a_mistake_is_one_line(command):
    status, printed = command("describe.py", "--config=configs/base.py", "--config.data.dir=gone")
    assert status == 2
    assert printed.startswith("error: gone/label_map.json") and printed.count("\n") == 1


@pytest.mark.usefixtures("standard_promotion")
def test_memory_is_what_the_compiler_plans_for_the_longest_bucket(command, dataset):
    flags = ("--config=tests/helpers/small.py", "--memory", "--config.data.max_seq_length=100")
    planned = []
    for data, length in ((dataset, None), ("nowhere", 128)):
        own = (f"--config.data.dir={data}", "--config.model.vocab_size=6")
        status, printed = command("describe.py", *flags, *own)
        assert status == 0, printed
        assert ("no data set in nowhere: 128 frames" in printed) == (data == "nowhere")
        (found,) = re.findall(r"stage2: 4 x (\d+) frames.* temporaries (\S+),", printed)
        split = layout.read_split(dataset, "train", validate.Rules(6, 4, 100))
        assert int(found[0]) == (length or find_buckets(split.frames, 2)[-1])
        planned.append(float(found[1]))
    assert 0 < planned[0] < planned[1]

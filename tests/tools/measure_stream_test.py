import json

import pytest

from wsign_jax.report import streaming


def test_a_split_is_streamed_into_a_table_and_a_picture(trained_run, command, tmp_path):
    root, work = trained_run
    out = tmp_path / "streams"
    flags = (f"--checkpoint={work}", "--split=test", "--chunks=0,4", "--left_contexts=8")
    status, printed = command("measure_stream.py", *flags, f"--out={out}")
    assert status == 0, printed
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 4 and rows[2].startswith("| full") and rows[3].startswith("| 4 | 8 |")
    assert "was not trained with a chunk of 4 patches" in printed
    assert printed.count("was not trained with a chunk") == 1  # not for every sentence
    assert sorted(path.name for path in out.iterdir()) == sorted(streaming.NAMES)
    content = json.loads((out / "streaming.json").read_text())
    assert content["data"] == str(root) and content["sentences"] == 6
    assert [row["differing"] for row in content["windows"]] == [0, 0]

    status, printed = command("measure_stream.py", *flags, f"--out={out}")
    assert status == 2 and "streaming.json: is there already" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--chunks=1,-2"], "'1,-2' is not different numbers of patches"),
        (["--left_contexts=8,8"], "'8,8' is not different numbers of patches"),
        (["--chunks="], "'' is not different numbers of patches"),
        (["--data=/gone"], "/gone: no such folder"),
    ],
)
def test_mistakes_are_named(trained_run, command, flags, message):
    status, printed = command("measure_stream.py", f"--checkpoint={trained_run[1]}", *flags)
    assert status == 2 and message in printed and "Traceback" not in printed

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.helpers import corpora
from wsign_jax.common import errors
from wsign_jax.data import layout, validate

ROOT = pathlib.Path(errors.__file__).parents[2]


def prepare(*flags):
    command = [sys.executable, "tools/prepare_corpus.py", *map(str, flags)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_keypoints_become_a_data_set_without_mediapipe(tmp_path):
    root = corpora.npz_clips(tmp_path / "des clés é")
    out = tmp_path / "made here"
    done = prepare("npz", f"--root={root}", f"--out={out}", "--aspect=640/480", "--swap_hands")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "npz: 36 clips, 3 glosses"
    assert done.stdout.splitlines()[-1] == f"wrote {out}"
    about = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert about["options"] == {"root": str(root), "aspect": 640 / 480, "swap_hands": True}
    assert sum(about["examples"].values()) == 36
    split = layout.read_split(out, "train", validate.Rules(4, 4, 1500))
    assert set(layout.read_groups(split.root, split.name, "signer").values()) <= {"S0", "S1"}
    again = prepare("npz", f"--root={root}", f"--out={out}")
    assert again.returncode == 2
    assert again.stderr == (
        f"error: {out}: already holds something; remove it, or name a new folder\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "arguments are required: CORPUS, --root; see --help"),
        (("how2sign", "--root=x"), "unknown corpus 'how2sign'; the known ones are asl_fing"),
        (("lsa64", "--root=x", "--fps=30"), "--fps is not an option of lsa64; leave it out"),
        (("lsa64", "--root=x"), "x: no such folder; name the corpus's with --root=DIR"),
        (("npz", "--root=x", "--aspect=4/0"), "--aspect: '4/0': give width / height, such as 4/3"),
        (("npz", "--root=x", "--color=red"), "unrecognized arguments: --color=red; see --help"),
        (("lsa64", "--root=x", "--split_by=day"), "--split_by=day: write signer, session or clip"),
    ],
)
def test_a_mistake_is_one_line(flags, message):
    done = prepare(*flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_rows_are_a_line_each_and_nothing_is_written(tmp_path):
    root = tmp_path / "données"
    corpora.write(root / "x.csv", "filename,glosses\ngone.mp4,HELLO\na,b,c\n")
    done = prepare("folder", f"--root={root}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        f"  {root}/x.csv:3: 3 fields, but the header has 2",
        f"  {root}/x.csv:2: {root}/gone.mp4 is missing",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["données"]


def test_help_says_what_every_corpus_takes():
    done = prepare("--help")
    assert done.returncode == 0
    for name in ("phoenix2014t", "--keep_broken", "--test_signers", "--leave_out", "--classes"):
        assert name in done.stdout

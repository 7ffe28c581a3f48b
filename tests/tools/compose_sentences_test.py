import json

import numpy as np
import pytest

from tests.helpers import corpora
from tests.helpers.processes import ROOT
from wsign_jax.common import files
from wsign_jax.data import layout, validate

CLIPS = ROOT.parent / "shared" / "data" / "asl-clips"
COUNTS = ("--train=4", "--val=2", "--test=2")


@pytest.fixture
def compose(command):
    return lambda *flags: command("compose_sentences.py", *flags)


def test_the_same_command_makes_the_same_sentences(compose, tmp_path):
    source = corpora.npz_clips(tmp_path / "clips")
    grammar = corpora.write(
        tmp_path / "g.py",
        "def sentence(rng, glosses): return [['hello'], ['tea', 'please']][rng.integers(2)]\n",
    )
    for name in ("a", "b"):
        status, printed = compose(
            f"--source={source}", f"--out={tmp_path / name}", *COUNTS, "--seed=3",
            f"--grammar={grammar}", "--uniform=0.5", "--seconds=0.5:0.8",
        )  # fmt: skip
        assert status == 0, printed
    assert "train: 4 sentences of " in printed and printed.endswith(f"wrote {tmp_path}/b\n")
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 3 * 8 + 3 + 2
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    about = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert about["settings"]["seed"] == 3 and about["sentences"]["grammar"] == str(grammar)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "arguments are required: --source, --out; see --help"),
        (("--source=x", "--out=y"), "x: no such folder; name the clips' with --source=DIR"),
        (("--source=x", "--out=y", "--seconds=1:z"), "argument --seconds: invalid span value"),
        (("--source=x", "--out=y", "--pace=2:1"), "--pace=2.0:1.0: give two numbers over 0"),
    ],
)
def test_a_mistake_is_one_line(compose, flags, message):
    status, printed = compose(*flags)
    assert status == 2 and printed.startswith("error: ") and message in printed
    assert printed.count("\n") == 1


def test_what_to_sign_must_make_sense(compose, tmp_path):
    source = corpora.npz_clips(tmp_path / "clips")
    grammar = corpora.write(tmp_path / "g.py", "def sentence(rng, glosses): return ['tee']\n")
    out = tmp_path / "out"
    for flags, message in (
        ((f"--grammar={grammar}",), f"{grammar}: gloss 'tee' is not in the vocabulary"),
        ((f"--grammar={grammar}", f"--text={grammar}"), "--grammar and --text: give one of them"),
        (("--uniform=0.5",), "--uniform is for a grammar or a text"),
        ((f"--text={tmp_path / 'none'}",), "none: no such file"),
    ):
        status, printed = compose(f"--source={source}", f"--out={out}", *flags)
        assert status == 2 and message in printed, printed
    assert not out.exists()


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the clips of traduttore-model are not here")
def test_the_composed_asl_set_has_the_known_character(compose, tmp_path):
    status, printed = compose(
        f"--source={CLIPS}", f"--out={tmp_path / 'asl'}", "--train=60", "--val=20", "--test=20",
        "--grammar=tools/asl_sentences.py", "--seconds=0.6:1.3",
    )  # fmt: skip
    assert status == 0, printed
    ids = files.read_json(tmp_path / "asl" / "label_map.json")
    assert len(ids) == 42
    # Of a session's clips that train, none is tested on, but for one gloss of one session.
    assert "which serve all: water\n" in printed
    split = layout.read_split(tmp_path / "asl", "train", validate.Rules(42, 4, 1500))
    assert set(layout.read_groups(split.root, split.name, "signer").values()) == {"S1", "S2"}
    lengths = [len(labels) for labels in split.labels]
    assert min(lengths) >= 3 and max(lengths) <= 8 and 4.0 < np.mean(lengths) < 6.0
    assert 280 < split.frames.mean() < 380
    letters = [id for gloss, id in ids.items() if gloss.startswith("fs-")]
    assert 0.2 < np.mean(np.isin(np.concatenate(split.labels), letters)) < 0.7

import json

import numpy as np
import pytest

from tests.helpers import corpora, published
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import auto, prepare
from wsign_jax.keypoints import pose_file


def arrays(root):
    (root / "tea").mkdir(parents=True)
    np.save(root / "tea" / "1.npy", np.zeros((4, 126)))
    return root


def videos(root):
    corpora.touch(root / "tea" / "1.mp4")
    corpora.touch(root / "tea" / "2.mp4")
    return root


def pictures(root):
    corpora.touch(root / "tea" / "1" / "1.jpg")
    return root


def pose_files(root):
    pytest.importorskip("pose_format")
    for number in range(4):
        features = np.zeros((20, 42, 7), np.float32)
        noise = np.random.default_rng(number).normal(0, 0.002, (20, 21, 3))
        features[:, corpora.RIGHT, :3] = 0.5 + corpora.HAND + noise
        features[:, corpora.RIGHT, 6] = 1.0
        pose_file.write_pose(root / "tea" / f"{number}.pose", features)
    return root


def table(root):
    corpora.touch(root / "sub" / "001_001_001.mp4")
    corpora.write(root / "any.csv", "filename,glosses\nsub/001_001_001.mp4,TEA\n")
    return root


@pytest.mark.parametrize(
    ("make", "name", "below"),
    [
        (published.asl_signs, "asl_signs", ""),
        (published.asl_fingerspelling, "asl_fingerspelling", ""),
        (published.isharah, "isharah", ""),
        (corpora.phoenix2014, "phoenix2014", ""),
        (corpora.phoenix2014t, "phoenix2014t", ""),
        (corpora.msasl, "msasl", ""),
        (corpora.lsa64, "lsa64", "all"),
        (corpora.mp_data, "mp_data", "MP_Data"),
        (corpora.npz_clips, "npz", ""),
        (videos, "folder", ""),
        (lambda root: videos(root / "deeper").parent, "folder", "deeper"),
        (pictures, "folder", ""),
        (arrays, "folder", ""),
        (table, "folder", ""),
    ],
)
def test_a_corpus_is_told_by_its_files(tmp_path, make, name, below):
    root = make(tmp_path / "it")
    found = auto.find_corpus(root)
    assert (found.name, found.root) == (name, root / below)
    assert found.command == f"python tools/prepare_corpus.py {name} --root={root / below}".rstrip(
        "/"
    )


def test_it_says_so_and_goes_on(tmp_path):
    corpus = prepare.read_corpus("auto", videos(tmp_path / "my videos"))
    assert corpus.name == "folder" and len(corpus.records) == 2
    assert corpus.notes[0] == (
        "read as folder, for 2 files like tea/1.mp4: python tools/prepare_corpus.py folder "
        f"--root='{tmp_path}/my videos'"
    )
    np.save(tmp_path / "my videos" / "actions.npy", np.array(["tea"]))  # no frame
    assert prepare.read_corpus("auto", tmp_path).name == "folder"


@pytest.mark.parametrize(
    ("make", "examples", "glosses"),
    [
        (published.asl_signs, 3, 3),
        (published.asl_fingerspelling, 3, 16),
        (published.isharah, 5, 3),
        (pose_files, 4, 1),
    ],
)
def test_landmarks_become_a_data_set(tmp_path, make, examples, glosses):
    corpus = prepare.read_corpus("auto", make(tmp_path / "corpus"))
    prepare.write_dataset(
        corpus, tmp_path / "out", prepare.ImportSettings(), progress=lambda line: None
    )
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert sum(about["examples"].values()) == examples
    assert len(json.loads((tmp_path / "out" / "label_map.json").read_text())) == glosses + 1


def test_several_things_at_once_are_named_with_their_commands(tmp_path):
    corpora.mp_data(tmp_path)
    videos(tmp_path / "videos")
    corpora.npz_clips(tmp_path / "others")
    corpora.npz_clips(tmp_path / "more")
    with pytest.raises(WSignError) as caught:
        auto.find_corpus(tmp_path)
    command = "python tools/prepare_corpus.py"
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: several things at once; name one of them",
        f"  96 files like MP_Data/hello/0/0.npy: {command} mp_data --root={tmp_path}/MP_Data",
        f"  2 files like videos/tea/1.mp4: {command} folder --root={tmp_path}/videos",
        f"  3 files like more/hello.npz: {command} npz --root={tmp_path}/more",
        f"  3 files like others/hello.npz: {command} npz --root={tmp_path}/others",
    ]


def test_there_must_be_something(tmp_path):
    with pytest.raises(WSignError, match="no videos or keypoints found that can be read"):
        auto.find_corpus(tmp_path)
    with pytest.raises(WSignError, match="x: no such folder"):
        auto.find_corpus(tmp_path / "x")
    corpora.write(tmp_path / "label_map.json", "{}")
    (tmp_path / "train").mkdir()
    with pytest.raises(
        WSignError, match=r"a data set already; train on it with --config\.data\.dir"
    ):
        auto.find_corpus(tmp_path)

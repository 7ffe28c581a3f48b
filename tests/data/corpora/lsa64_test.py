import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import lsa64, prepare


def test_whole_signers_are_held_out(tmp_path):
    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path))
    assert [(r.split, r.id, r.glosses, r.signer) for r in corpus.records] == [
        ("train", "001_001_001", ("001",), "001"),
        ("val", "001_009_001", ("001",), "009"),
        ("test", "001_010_001", ("001",), "010"),
        ("train", "064_001_001", ("064",), "001"),
        ("val", "064_009_001", ("064",), "009"),
        ("test", "064_010_001", ("064",), "010"),
    ]


def test_another_name_is_named(tmp_path):
    corpora.touch(corpora.lsa64(tmp_path) / "holiday.mp4")
    (problem,) = lsa64.read(tmp_path).problems
    assert problem == f"{tmp_path}/holiday.mp4: its name is not <sign>_<signer>_<repetition>"


def test_videos_must_be_there(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(WSignError, match=r"b: no videos in it"):
        lsa64.read(tmp_path / "b")
    with pytest.raises(WSignError, match=r"c: no such folder"):
        lsa64.read(tmp_path / "c")

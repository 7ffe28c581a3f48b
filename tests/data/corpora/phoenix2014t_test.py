from tests.helpers import corpora
from wsign_jax.data.corpora import prepare


def test_the_release_is_read_as_published(tmp_path):
    corpora.phoenix2014t(tmp_path)
    for root in (tmp_path, tmp_path / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"):
        corpus = prepare.read_corpus("phoenix2014t", root)
        assert [(r.split, r.id, r.signer, r.glosses) for r in corpus.records] == [
            (
                "train",
                "11August_2010_Wednesday_tagesschau-2",
                "Signer08",
                ("DRUCK", "TIEF", "KOMMEN"),
            ),
            ("val", "11August_2010_Wednesday_tagesschau-4", "Signer08", ("TIEF",)),
            ("test", "11August_2010_Wednesday_tagesschau-6", "Signer01", ("KOMMEN", "DRUCK")),
        ]
        assert all(record.source.is_dir() and record.fps == 25.0 for record in corpus.records)
        assert not corpus.problems


def test_a_row_without_pictures_is_named(tmp_path):
    corpora.phoenix2014t(tmp_path)
    (picture,) = tmp_path.rglob("dev/*/images0001.png")
    picture.unlink()
    (problem,) = prepare.read_corpus("phoenix2014t", tmp_path).problems
    assert "PHOENIX-2014-T.dev.corpus.csv:2: " in problem and "has no pictures" in problem

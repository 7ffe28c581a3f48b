import numpy as np
import pytest

from tests.helpers import corpora, published
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import asl_fingerspelling, parquet, prepare


def test_phrases_are_glosses_of_characters_and_a_file_is_read_once(tmp_path, monkeypatch):
    corpus = prepare.read_corpus("asl_fingerspelling", published.asl_fingerspelling(tmp_path))
    assert [(r.id, " ".join(r.glosses), r.signer) for r in corpus.records] == [
        ("5414471_1816796431", "3 \N{OPEN BOX} c r e e k", "217"),
        ("5414471_1816825349", "a - b", "107"),
        ("33432165_1535467051", "c o m i n g \N{OPEN BOX} u p", "251"),
    ]
    assert not corpus.problems and corpus.recorded["aspect"]["value"] == 4 / 3
    assert set(prepare.label_map(corpus, None)) > {"\N{OPEN BOX}", "3", "-"}
    read, inner = [], parquet.read_columns
    monkeypatch.setattr(parquet, "read_columns", lambda p, c: read.append(p) or inner(p, c))
    found = [record.keypoints() for record in corpus.records]
    assert len(read) == 2
    points = published.landmarks(10, 5414471)["right_hand"].astype(np.float32)
    np.testing.assert_allclose(
        found[1].positions[2, corpora.RIGHT], points[7] / [1, 4 / 3, 1], rtol=1e-6
    )
    np.testing.assert_array_equal(found[1].confidence, np.tile([0.0, 1.0], (5, 1)))
    np.testing.assert_array_equal(found[0].confidence[:2], [[0, 0], [0, 1]])
    np.testing.assert_allclose(found[1].times, np.arange(5) / 30)


def test_a_part_of_the_corpus_is_enough(tmp_path):
    root = published.asl_fingerspelling(tmp_path)
    (root / "train_landmarks" / "5414471.parquet").unlink()
    corpus = asl_fingerspelling.read(root)
    assert len(corpus.records) == 1
    assert "left out 2 rows whose file is not there" in corpus.notes
    (root / "train.csv").unlink()
    assert len(asl_fingerspelling.read(root).records) == 1
    (root / "supplemental_landmarks" / "33432165.parquet").unlink()
    with pytest.raises(WSignError, match=r"no file that supplemental_metadata\.csv names"):
        asl_fingerspelling.read(root)


def test_what_cannot_be_used_is_named(tmp_path):
    root = published.asl_fingerspelling(tmp_path)
    path = "train_landmarks/5414471.parquet"
    corpora.write(
        root / "train.csv",
        f"{published.SPELLING_HEADER}\n{path},5414471,7,1,hi\n{path},5414471,8,1,\n",
    )
    corpus = asl_fingerspelling.read(root)
    assert corpus.problems == (f"{root}/train.csv:3: no phrase",)
    with pytest.raises(WSignError, match=r"5414471\.parquet: no frames of sequence 7 in it"):
        corpus.records[0].keypoints()

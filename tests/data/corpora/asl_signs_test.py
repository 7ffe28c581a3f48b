import numpy as np
import pytest

from tests.helpers import corpora, published
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import asl_signs, parquet, prepare


def test_landmarks_of_hands_come_out_by_frames_in_picture_widths(tmp_path):
    corpus = prepare.read_corpus("asl_signs", published.asl_signs(tmp_path), fps=10.0)
    assert [(r.split, r.id, r.glosses, r.signer) for r in corpus.records] == [
        ("", "26734_1000", ("TV",), "26734"),
        ("", "26734_1001", ("after",), "26734"),
        ("", "28656_1002", ("TV",), "28656"),
    ]
    assert not corpus.problems
    assert corpus.notes[1:] == ("left out 1 rows whose file is not there",)
    assert corpus.recorded["aspect"] == {"value": 0.75, "why": "by the height and width of faces"}
    # The published index, after the blank.
    assert prepare.label_map(corpus, None) == {"<blank>": 0, "TV": 1, "after": 2, "cat": 3}
    keypoints = corpus.records[1].keypoints()
    np.testing.assert_allclose(keypoints.times, np.arange(6) / 10)
    np.testing.assert_array_equal(keypoints.confidence, [[0, 0]] + [[0, 1]] * 5)
    expected = published.landmarks(6, 1001)["right_hand"][3] / [1, 0.75, 1]
    np.testing.assert_allclose(keypoints.positions[3, corpora.RIGHT], expected)


def test_rows_may_lie_in_any_order(tmp_path):
    path = published.asl_signs(tmp_path) / "train_landmark_files/28656/1002.parquet"
    before = asl_signs.read(tmp_path).records[2].keypoints()
    table = __import__("pyarrow.parquet").parquet.read_table(path)
    order = np.random.default_rng(0).permutation(table.num_rows)
    __import__("pyarrow.parquet").parquet.write_table(table.take(order), path)
    after = asl_signs.read(tmp_path).records[2].keypoints()
    np.testing.assert_array_equal(after.positions, before.positions)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column 'frame' in it; is it this corpus's file?"),
        ({"frame": [np.nan]}, "no frames in it, or frames without a number"),
        ({"frame": [0], "x": ["left"]}, "column 'x' holds object, not numbers"),
    ],
)
def test_another_parquet_is_one_line(tmp_path, columns, message):
    path = published.asl_signs(tmp_path) / "train_landmark_files/28656/1002.parquet"
    record = asl_signs.read(tmp_path, aspect=1.0).records[2]
    rest = {"type": ["pose"], "landmark_index": [0], "x": [0.5], "y": [0.5], "z": [0.5]}
    published.write_parquet(path, rest | columns)
    with pytest.raises(WSignError) as caught:
        record.keypoints()
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("content", [b"", b"PAR1" + b"\xff" * 99 + b"PAR1", None])
def test_damage_is_one_line(tmp_path, content):
    path = published.asl_signs(tmp_path) / "train_landmark_files/28656/1002.parquet"
    record = asl_signs.read(tmp_path, aspect=1.0).records[2]
    path.write_bytes(path.read_bytes()[:-99] if content is None else content)
    with pytest.raises(
        WSignError, match=r"1002\.parquet: unreadable \(.*; download it again"
    ) as caught:
        record.keypoints()
    assert "\n" not in str(caught.value)


def test_the_table_must_be_this_corpus_s(tmp_path):
    table = corpora.write(tmp_path / "train.csv", f"{published.SIGNS_HEADER}\na.parquet,1,2,TV\n")
    with pytest.raises(WSignError, match=r"no file that train\.csv names"):
        asl_signs.read(tmp_path)
    table.write_text("path,label\n")
    with pytest.raises(WSignError, match="must have participant_id, sequence_id, sign"):
        asl_signs.read(tmp_path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    published.asl_signs(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(WSignError, match=r'pip install -e "\.\[parquet\]"'):
        asl_signs.read(tmp_path)


def test_a_small_file_that_says_it_is_huge_is_not_unpacked(tmp_path, monkeypatch):
    published.asl_signs(tmp_path)
    record = asl_signs.read(tmp_path, aspect=1.0).records[0]
    monkeypatch.setattr(parquet, "_MOST_ROWS", 100)
    with pytest.raises(WSignError, match=r"1000\.parquet: 3258 rows, over 100; is it this"):
        record.keypoints()

import pickle

import numpy as np
import pytest

from tests.helpers import corpora, published
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import array_pickle, isharah, prepare


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_hands_are_placed_by_the_shoulders(tmp_path, protocol):
    root = published.isharah(tmp_path, protocol)
    corpus = prepare.read_corpus("isharah", root, fps=10.0)
    assert [(r.split, r.id, r.glosses, r.signer) for r in corpus.records] == [
        ("train", "00_0001", ("سوال", "هو"), "00"),
        ("train", "01_0001", ("سوال", "هو"), "01"),
        ("val", "02_0001", ("سوال", "هو"), "02"),
        ("val", "02_0003", ("هو",), "02"),
        ("test", "02_0002", ("هو", "معلم"), "02"),
    ]
    assert corpus.notes[1] == "no glosses of a test: every second clip of dev is taken for it"
    keypoints = corpus.records[0].keypoints()
    np.testing.assert_allclose(keypoints.times, np.arange(8) / 10)
    np.testing.assert_array_equal(keypoints.confidence, [[0, 1]] * 3 + [[1, 1]] * 5)
    (path,) = root.glob("*.pkl")
    points = pickle.loads(path.read_bytes())["00_0001"]["keypoints"]
    # Shoulders 400 pixels apart about (500, 900): a width of 1200 pixels.
    right = 0.5 + (points[4, :21] - [500, 900]) / 1200
    np.testing.assert_allclose(keypoints.positions[4, corpora.RIGHT, :2], right, atol=1e-6)
    left = 0.5 + (points[4, 21:42] - [500, 900]) / 1200
    np.testing.assert_allclose(keypoints.positions[4, corpora.LEFT, :2], left, atol=1e-6)
    assert not keypoints.positions[..., 2].any()


def test_a_test_with_glosses_is_the_test_and_rows_without_keypoints_are_named(tmp_path):
    root = published.isharah(tmp_path)
    folder = root / "annotations" / "SI"
    table = corpora.write(folder / "test_orig.csv", "id|gloss|text\n02_0002|هو|x\n03_0001|هو|y\n")
    corpus = isharah.read(root)
    assert [r.id for r in corpus.records if r.split != "train"] == [
        "02_0001", "02_0002", "02_0003", "02_0002",
    ]  # fmt: skip
    assert corpus.problems == (f"{table}:3: no keypoints of 03_0001 in the .pkl files",)


def test_annotations_and_pickles_must_be_found(tmp_path):
    with pytest.raises(WSignError, match=r"train\.csv must be in one folder, and is in none"):
        isharah.read(tmp_path)
    root = published.isharah(tmp_path)
    corpora.write(root / "annotations" / "US" / "train.txt", "id|gloss\n00_0001|هو\n")
    with pytest.raises(
        WSignError, match=r"is in annotations/SI, annotations/US; name SI's or US's"
    ):
        isharah.read(root)
    us = root / "annotations" / "US"
    assert [r.id for r in isharah.read(root, annotations=us).records] == ["00_0001"]
    with pytest.raises(WSignError, match=r"US: no \.pkl in it; name the folder of the keypoints"):
        isharah.read(us)


class Hostile:
    """Makes a pickle that has a function called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


POINTS = np.ones((4, 86, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Hostile(print, "owned"), "it names 'builtins.print', which is no array"),
        ({"00_0001": Hostile(np.load, "x")}, "it names 'numpy.load', which is no array"),
        ({"00_0001": {"keypoints": np.array([print])}}, "an array of 'O8', not of numbers"),
        ({"00_0001": {"keypoints": POINTS[:, :85]}}, "keypoints of 00_0001: [4, 85, 2], not (T, 86, 2)"),
        ({"00_0001": {"keypoints": [1.0]}}, "keypoints of 00_0001: no array, not (T, 86, 2)"),
        ({"00_0001": {}}, "keypoints of 00_0001: no array"),
        ([POINTS], "not a dict of clips, as Isharah's are"),
        (b"\x80\x04cos\nsystem\n", "it names 'os.system', which is no array"),
        (b"\x80\x04r\xff\xff\xff\xff.", "is it a pickle of arrays?"),  # a huge memo
        (b"\x80\x04}" + b")" + b"2\x86" * 60 + b"Ns.", "a tuple is a key"),  # whose hash takes years
        (b"\x80\x05\x96" + (4 << 30).to_bytes(8, "little"), "unreadable"),  # bytes that are not there
        (b"\x80\x04", "is it a pickle of arrays?"),
        (b"", "is it a pickle of arrays?"),
        # A state for the stand-in itself, and an array that says it is larger than its bytes.
        (b"cnumpy\ndtype\nN}S'dtype'\nNs\x86b.", "is it a pickle of arrays?"),
        (pickle.dumps(POINTS, 4).replace(b"K\x04KV", b"K\x05KV"), "688 numbers is not (5, 86, 2)"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_pickle_that_is_something_else_is_one_line(tmp_path, content, message, capsys):
    root = published.isharah(tmp_path)
    (path,) = root.glob("*.pkl")
    (root / f"._{path.name}").write_bytes(b"macOS")
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    with pytest.raises(WSignError) as caught:
        isharah.read(root)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_numbers_come_back_as_they_were(tmp_path, protocol):
    values = {"f": POINTS.astype(">f4"), "i": np.arange(6).reshape(2, 3).T, "s": np.float32(2.5)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(values | {"t": ("x", [1, None])}, protocol))
    found = array_pickle.load_arrays(tmp_path / "a.pkl")
    assert found["t"] == ("x", [1, None]) and array_pickle.array_in(found["t"]) is None
    for name, value in values.items():
        read = array_pickle.array_in(found[name])
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read.reshape(value.shape), value)

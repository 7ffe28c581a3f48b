import collections
import io

import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate
from wsign_jax.data.corpora import npz, prepare, records
from wsign_jax.keypoints import joints


def test_a_file_a_gloss_with_signers_and_sessions(tmp_path):
    root = corpora.npz_clips(tmp_path)
    corpora.touch(root / "_rest.npz")
    corpus = prepare.read_corpus("npz", root, fps=20.0, aspect=2.0)
    assert len(corpus.records) == 36 and corpus.notes == ("left out _rest.npz",)
    record = corpus.records[3]
    assert (record.id, record.glosses, record.signer) == ("hello_00003", ("hello",), "S1")
    assert record.session == "1-1" and record.split == ""
    keypoints = record.keypoints()
    with np.load(root / "hello.npz") as arrays:
        expected = arrays["keypoints"][3] / np.array([1.0, 2.0, 1.0])
    np.testing.assert_allclose(keypoints.positions, expected)
    np.testing.assert_array_equal(keypoints.confidence, np.tile([0.0, 1.0], (20, 1)))
    np.testing.assert_allclose(keypoints.times, np.arange(20) / 20)


def test_clips_of_different_lengths_lie_behind_each_other(tmp_path):
    keypoints = np.random.default_rng(0).random((9, 42, 3))
    keypoints[4, corpora.LEFT] = np.nan
    keypoints[5, corpora.RIGHT] = 0.0
    keypoints[6, corpora.RIGHT, 1] = 1e30
    np.savez(
        tmp_path / "all.npz",
        keypoints=keypoints,
        lengths=np.array([4, 5]),
        glosses=np.array(["HELLO YOU", "YOU"]),
        id=np.array(["first", "second"]),
        split=np.array(["train", "dev"]),
        fps=np.array([10, 20]),
        aspect=np.array(1.0),
        segments=np.array([[0, 0.2], [0.2, 0.3], [0.1, 0.2]]),
    )
    corpus = npz.read(tmp_path, fps=50.0)
    assert corpus.notes == () and corpus.recorded["fps"] == {"value": None, "why": "given"}
    first, second = corpus.records
    assert (first.id, first.glosses, first.split) == ("first", ("HELLO", "YOU"), "train")
    assert first.segments == ((0, 0.2), (0.2, 0.3)) and second.segments == ((0.1, 0.2),)
    np.testing.assert_allclose(second.keypoints().times, np.arange(5) / 20)
    assert (second.id, second.glosses, second.split) == ("second", ("YOU",), "val")
    np.testing.assert_array_equal(second.keypoints().positions, keypoints[4:])
    expected = [[0, 1], [1, 0], [1, 0], [1, 1], [1, 1]]
    np.testing.assert_array_equal(second.keypoints().confidence, expected)


def test_left_and_right_can_be_swapped(tmp_path):
    root = corpora.npz_clips(tmp_path)
    plain = npz.read(root).records[0].keypoints()
    swapped = npz.read(root, swap_hands=True).records[0].keypoints()
    np.testing.assert_array_equal(swapped.confidence, plain.confidence[:, ::-1])
    np.testing.assert_array_equal(
        swapped.positions[:, corpora.LEFT], plain.positions[:, corpora.RIGHT]
    )


BEYOND_UNICODE = np.full(2, 2**31 - 1, np.uint32).view("<U1")
GOOD = np.ones((2, 5, 42, 3))
BROKEN = {
    "reversed": (
        {"keypoints": GOOD, "segments": np.array([[2.0, 1.0]] * len(GOOD))},
        "are not seconds",
    ),
    "no array": ({"x": GOOD}, "no array 'keypoints' in it, only x"),
    "joints": ({"keypoints": GOOD[:, :, :40]}, r"float64\[2, 5, 40, 3\] are not floats \(N, T"),
    "integers": ({"keypoints": GOOD.astype(int)}, "are not floats"),
    "no lengths": ({"keypoints": GOOD[0]}, "are not floats"),
    "lengths": ({"keypoints": GOOD[0], "lengths": np.array([2, 2])}, "nor .sum of lengths, 42, 3"),
    "present": (
        {"keypoints": GOOD, "present": np.ones((2, 4, 2))},
        r"present float64\[2, 4, 2\] is not",
    ),
    "seven": ({"keypoints": GOOD, "present": np.ones(7)}, r"present float64\[7\] is not numbers"),
    "words": (
        {"keypoints": GOOD, "present": np.full((10, 2), "x")},
        r"present <U1\[10, 2\] is not",
    ),
    "nothing": ({"keypoints": GOOD[:, :, :0]}, r"float64\[2, 5, 0, 3\] are not floats"),
    "scalar": ({"keypoints": np.array(1.0)}, r"float64\[\] are not floats"),
    "bytes": ({"keypoints": GOOD, "id": np.array([b"a", b"b"])}, r"id is \|S1, not text; save it"),
    "beyond": ({"keypoints": GOOD, "id": BEYOND_UNICODE}, "id is not Unicode text"),
    "signer": ({"keypoints": GOOD, "signer": np.array(["A"])}, r"signer \[1\] is not \(2,\)"),
    "split": ({"keypoints": GOOD, "split": np.array(["train", "x"])}, "split 'x' of clip 1"),
    "rates": ({"keypoints": GOOD, "fps": np.ones(3)}, r"fps float64\[3\] is not numbers \(2,\)"),
    "aspect": (
        {"keypoints": GOOD, "aspect": np.array(0)},
        r"aspect int64\[\] is not .* 0\.1 to 10",
    ),
    "segments": ({"keypoints": GOOD, "segments": np.ones((3, 2))}, r"are not seconds \(2, 2\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_and_spoils_no_other(tmp_path, case):
    arrays, message = BROKEN[case]
    corpora.npz_clips(tmp_path)
    np.savez(tmp_path / "broken.npz", **arrays)
    corpus = npz.read(tmp_path)
    assert len(corpus.records) == 36
    (problem,) = corpus.problems
    assert problem.startswith(f"{tmp_path}/broken.npz: ")
    with pytest.raises(WSignError, match=message):
        raise WSignError(problem)


def test_pickles_and_damage_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=np.array([{"a": 1}]))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "c.npz").write_bytes(b"")
    corpus = npz.read(tmp_path)
    assert not corpus.records
    assert ["unreadable" in problem for problem in corpus.problems] == [True] * 3


def damaged(whole, number, rng):
    """A file with some bytes changed, or whole with an array that is anything."""
    if number % 2:
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 8)):
            content[place] = rng.integers(256)
        return bytes(content)
    with np.load(io.BytesIO(whole)) as archive:
        arrays = dict(archive)
    name = rng.choice([*arrays, "present"])
    shape = tuple(rng.integers(0, 6, size=rng.integers(0, 5)).tolist())
    if name in arrays and rng.random() < 0.5:
        shape = arrays[name].shape
    kind = rng.choice(["f2", "f8", ">f4", "c8", "i8", "u8", "?", "U3", "S3", "M8[s]", "V5"])
    junk = rng.integers(256, size=64 * int(np.prod(shape)), dtype=np.uint8).tobytes()
    arrays[name] = np.ndarray(shape, kind, junk or b"\0" * 64)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_whatever_a_file_holds_it_is_read_or_named(tmp_path):
    rng = np.random.default_rng(0)
    names = {name: np.array(["a", "b"]) for name in ("glosses", "signer", "session", "id")}
    whole = io.BytesIO()
    np.savez(whole, keypoints=rng.random((10, 42, 3)), lengths=np.array([4, 6]), **names)
    outcomes = collections.Counter()
    for number in range(200):
        (tmp_path / "a.npz").write_bytes(damaged(whole.getvalue(), number, rng))
        corpus = npz.read(tmp_path)
        usable, problems = prepare.check_records(corpus, prepare.label_map(corpus, None))
        for record in usable:
            positions, confidence = records.sample_keypoints(record.keypoints(), record.where)
            validate.check_features(joints.features_from_positions(positions, confidence), "")
        outcomes["read" if usable else "named"] += 1
        assert usable or problems
    assert min(outcomes["read"], outcomes["named"]) >= 10


def test_there_must_be_something(tmp_path):
    with pytest.raises(WSignError, match=r"no \.npz in it"):
        npz.read(tmp_path)
    with pytest.raises(WSignError, match="x: no such folder"):
        npz.read(tmp_path / "x")
    with pytest.raises(WSignError, match=r"--aspect=nan: give width / height, from 0.1 to 10"):
        npz.read(tmp_path, aspect=float("nan"))

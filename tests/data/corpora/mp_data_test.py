import pathlib
import re

import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import clip_checks, mp_data, prepare


def test_the_last_126_values_are_the_hands_and_zeros_are_absence(tmp_path):
    corpus = prepare.read_corpus("mp_data", corpora.mp_data(tmp_path), aspect=2.0)
    assert len(corpus.records) == 12 and not corpus.problems
    record = corpus.records[0]
    assert (record.id, record.glosses, record.session) == ("hello_0", ("hello",), "")
    assert corpus.records[-1].glosses == ("two-words",)
    keypoints = record.keypoints()
    vector = np.load(tmp_path / "MP_Data" / "hello" / "0" / "3.npy")
    expected = vector[-63:].reshape(21, 3) / [1, 2, 1]
    np.testing.assert_allclose(keypoints.positions[3, corpora.RIGHT], expected)
    np.testing.assert_array_equal(keypoints.confidence, np.tile([0.0, 1.0], (8, 1)))
    np.testing.assert_allclose(keypoints.times, np.arange(8) / 30)
    swapped = mp_data.read(tmp_path, aspect=1.0, swap_hands=True).records[0].keypoints()
    np.testing.assert_array_equal(swapped.confidence, np.tile([1.0, 0.0], (8, 1)))
    np.testing.assert_allclose(
        swapped.positions[3, corpora.LEFT], keypoints.positions[3, corpora.RIGHT] * [1, 2, 1]
    )


def test_frames_are_placed_by_their_numbers(tmp_path):
    corpora.mp_data(tmp_path)
    sequence = tmp_path / "MP_Data" / "hello" / "0"
    (sequence / "3.npy").unlink()
    (sequence / "7.npy").rename(sequence / "10.npy")
    times = mp_data.read(tmp_path / "MP_Data", fps=10.0).records[0].keypoints().times
    np.testing.assert_allclose(times, [0, 0.1, 0.2, 0.4, 0.5, 0.6, 1.0])


def test_a_table_goes_before_the_folders(tmp_path):
    for name in ("anna", "ben"):
        corpora.mp_tree(tmp_path / "data" / name, ("hello", "two words"), (1, 2))
    table = corpora.write(
        tmp_path / "sessions.csv",
        "folder,sign,sequence,session,signer,split\n"
        "anna,two words,1,s7,Zoë,dev\n,hello,1,s8,,\n,hello,9,,,\n",
    )
    corpus = mp_data.read(tmp_path / "data", sessions=table)
    known = {r.id: (r.session, r.signer, r.split) for r in corpus.records}
    assert known["anna_two-words_1"] == ("s7", "Zoë", "val")
    assert known["ben_two-words_1"] == ("", "ben", "")
    assert known["ben_hello_1"] == ("s8", "ben", "") and known["anna_hello_1"][0] == "s8"
    assert corpus.notes[:2] == (
        "took the folders anna, ben as people",
        f"warning: {table}: 1 rows name no sequence, such as hello 9",
    )
    for text, message in (
        ("sign,sequence,session\nhello,1\n", r"\.csv:2: 2 fields, but the header has 3"),
        ("sign,sequence,split\nhello,1,x\n", r"\.csv:2: the split is none of train, val and test"),
    ):
        table.write_text(text)
        with pytest.raises(WSignError, match=message):
            mp_data.read(tmp_path / "data", sessions=table)


@pytest.mark.parametrize(
    ("face", "aspect", "shown"),
    [(1.63, 4 / 3, "4/3, by the h"), (2.1, 16 / 9, "16/9, by the h"), (0.0, 4 / 3, "4/3, assumed")],
)
def test_faces_tell_the_aspect(tmp_path, face, aspect, shown):
    corpus = mp_data.read(corpora.mp_tree(tmp_path, face=face))
    assert corpus.recorded["aspect"]["value"] == pytest.approx(aspect)
    assert corpus.recorded["fps"] == {"value": 30.0, "why": "assumed"}
    assert corpus.notes[0] == "frames a second: 30, assumed; --fps=N says otherwise"
    assert corpus.notes[1].startswith(f"width / height of the pictures: {shown}")
    positions = corpus.records[0].keypoints().positions
    vector = np.load(tmp_path / "hello" / "0" / "3.npy")
    np.testing.assert_allclose(positions[3].ravel()[1::3], vector[-126:][1::3] / aspect)
    assert mp_data.read(tmp_path, aspect=1.0, fps=25.0).notes == ()


def test_each_folder_has_its_own_aspect(tmp_path):
    corpora.mp_tree(tmp_path / "anna", face=1.63)
    corpora.mp_tree(tmp_path / "ben", face=2.1)
    corpus = mp_data.read(tmp_path)
    assert {name: known["value"] for name, known in corpus.recorded["aspect"].items()} == {
        "anna": 4 / 3, "ben": 16 / 9
    }  # fmt: skip
    assert any("of the pictures of ben: 16/9" in note for note in corpus.notes)


@pytest.mark.parametrize("name", ["german", "korean"])
def test_real_trees_are_read_as_they_lie(name):
    root = pathlib.Path(__file__).parents[4] / "shared" / "data" / "mp-data" / name
    if not root.is_dir():
        pytest.skip("needs ../shared/data")
    corpus = mp_data.read(root)
    assert corpus.recorded["aspect"]["value"] == 4 / 3 and not corpus.problems
    sessions = {"german": {""}, "korean": {"MP_Data", "MP_Data1", "MP_Data2"}}
    assert {record.session for record in corpus.records} == sessions[name]
    clip_checks.check_hands(corpus.records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(125), r"float64\[125\] is not a vector of 126 or more numbers"),
        (np.zeros((2, 126)), r"float64\[2, 126\] is not a vector"),
        (np.zeros(1404), "1404 values are a face; both hands' 2 x 21 x 3 are needed"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the file; run git lfs",
        ),
        (b"", "unreadable"),
        (np.array(["x"] * 1662), "holds <U1, not real numbers; record it again"),
        (None, "missing; record it again"),
        (b"no array", "unreadable"),
    ],
)
def test_a_broken_frame_is_named_when_its_sequence_is_read(tmp_path, content, message):
    corpora.mp_data(tmp_path)
    path = tmp_path / "MP_Data" / "hello" / "0" / "3.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        path.unlink()
        path.symlink_to(tmp_path / "gone")
    else:
        np.save(path, content)
    record = mp_data.read(tmp_path).records[0]
    with pytest.raises(WSignError, match=rf"^{re.escape(str(path))}: .*{message}"):
        record.keypoints()


def test_folders_that_are_no_sequences_are_named(tmp_path):
    root = corpora.mp_data(tmp_path) / "MP_Data"
    (root / "hello" / "take two").mkdir()
    (root / "nothing").mkdir()
    corpora.touch(root / "__MACOSX" / "hello" / "0" / "._0.npy")
    corpora.touch(root / "processed" / "label_map.json")
    (root / "hello" / "61" / "0.npy").unlink()
    for number in range(1, 8):
        (root / "hello" / "61" / f"{number}.npy").unlink()
    corpus = mp_data.read(tmp_path)
    assert corpus.problems == (
        f"{root}/hello/take two: its name is not a sequence's number",
        f"{root}/nothing: no <sequence> folders in it",
    )
    (empty,) = (record for record in corpus.records if record.id == "hello_61")
    with pytest.raises(WSignError, match=r"61: no <frame>\.npy in it"):
        empty.keypoints()


def test_there_must_be_something_and_options_must_make_sense(tmp_path):
    with pytest.raises(WSignError, match=r"no <sign>/<sequence>/<frame>\.npy in it"):
        mp_data.read(tmp_path)
    with pytest.raises(WSignError, match="x: no such folder"):
        mp_data.read(tmp_path / "x")
    for name, what in (("fps", "a number"), ("aspect", "width / h")):
        with pytest.raises(WSignError, match=rf"--{name}=0: give {what}"):
            mp_data.read(corpora.mp_data(tmp_path), **{name: 0})

import re

import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import mp_data, prepare


def test_the_last_126_values_are_the_hands_and_zeros_are_absence(tmp_path):
    corpus = prepare.read("mp_data", corpora.mp_data(tmp_path), aspect=2.0)
    assert len(corpus.records) == 12 and not corpus.problems
    record = corpus.records[0]
    assert (record.id, record.glosses, record.session) == ("hello_0", ("hello",), "hello-0")
    assert corpus.records[-1].glosses == ("two-words",)
    keypoints = record.keypoints()
    vector = np.load(tmp_path / "MP_Data" / "hello" / "0" / "3.npy")
    expected = vector[-63:].reshape(21, 3) / [1, 2, 1]
    np.testing.assert_allclose(keypoints.positions[3, corpora.RIGHT], expected)
    np.testing.assert_array_equal(keypoints.confidence, np.tile([0.0, 1.0], (8, 1)))
    np.testing.assert_allclose(keypoints.times, np.arange(8) / 30)
    swapped = mp_data.read(tmp_path, swap_hands=True).records[0].keypoints()
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


def test_sessions_are_runs_of_numbers_or_what_a_table_says(tmp_path):
    corpora.mp_data(tmp_path)
    by_number = {r.id: r.session for r in mp_data.read(tmp_path).records}
    assert by_number["hello_31"] == "hello-1" and by_number["hello_60"] == "hello-2"
    assert mp_data.read(tmp_path, session_size=2).records[3].session == "hello-15"
    table = corpora.write(
        tmp_path / "sessions.csv", "sign,sequence,session,signer\ntwo words,31,s7,Zoë\n"
    )
    known = {r.id: (r.session, r.signer) for r in mp_data.read(tmp_path, sessions=table).records}
    assert known["two-words_31"] == ("s7", "Zoë") and known["hello_31"] == ("hello-1", "")
    table.write_text("sign,sequence,session\nhello,1\n")
    with pytest.raises(WSignError, match=r"sessions\.csv:2: 2 fields, but the header has 3"):
        mp_data.read(tmp_path, sessions=table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(125), r"float64\[125\] is not a vector of 126 or more numbers"),
        (np.zeros((2, 126)), r"float64\[2, 126\] is not a vector"),
        (b"", "unreadable"),
        (b"no array", "unreadable"),
    ],
)
def test_a_broken_frame_is_named_when_its_sequence_is_read(tmp_path, content, message):
    corpora.mp_data(tmp_path)
    path = tmp_path / "MP_Data" / "hello" / "0" / "3.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    record = mp_data.read(tmp_path).records[0]
    with pytest.raises(WSignError, match=rf"^{re.escape(str(path))}: .*{message}"):
        record.keypoints()


def test_folders_that_are_no_sequences_are_named(tmp_path):
    root = corpora.mp_data(tmp_path) / "MP_Data"
    (root / "hello" / "take two").mkdir()
    (root / "nothing").mkdir()
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
    for name, what in (("fps", "a number"), ("aspect", "width / h"), ("session_size", "a number")):
        with pytest.raises(WSignError, match=rf"--{name}=0: give {what}"):
            mp_data.read(corpora.mp_data(tmp_path), **{name: 0})

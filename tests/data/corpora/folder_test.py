import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import folder, prepare


def test_the_csv_is_read_with_spaces_quotes_and_letters_of_any_language(tmp_path):
    root = tmp_path / "mes vidéos"
    for name in ("réponse nº 1.mp4", "sub, folder/b.MOV"):
        corpora.touch(root / name)
    corpora.touch(root / "pictures" / "1.jpg")
    corpora.write(
        root / "signs.csv",
        "\ufefffilename,glosses,signer,split\r\n"
        "réponse nº 1.mp4,BONJOUR ÇA-VA,Zoë,train\r\n"
        '"sub, folder/b.MOV",BONJOUR,Ann,dev\r\n'
        "\r\n"
        "pictures,ÇA-VA,Ann,test\r\n",
    )
    corpus = prepare.read_corpus("folder", root, fps=30.0)
    assert [(r.split, r.id, r.glosses, r.signer, r.fps) for r in corpus.records] == [
        ("train", "réponse nº 1", ("BONJOUR", "ÇA-VA"), "Zoë", None),
        ("val", "sub, folder_b", ("BONJOUR",), "Ann", None),
        ("test", "pictures", ("ÇA-VA",), "Ann", 30.0),
    ]
    assert not corpus.problems


def test_broken_rows_are_named_one_by_one(tmp_path):
    corpora.touch(tmp_path / "a.mp4")
    corpora.touch(tmp_path / "sub" / "a.mp4")
    table = corpora.write(
        tmp_path / "signs.csv",
        'filename,glosses,split\na.mp4,HELLO,train\nb.mp4,HELLO,train\na.mp4,,train\n"a.mp4,HELLO\n'
        "a.mp4,HELLO,trainer\n,HELLO,val\na.mp4,HELLO\nsub/a.mp4,HELLO,train\n./a.mp4,HELLO,train\n",
    )
    corpus = folder.read(tmp_path)
    _, problems = prepare.check_records(corpus, prepare.label_map(corpus, None))
    assert sorted(problems) == [
        f"{table}:10: id 'a' is that of {table}:2 too; change one",
        f"{table}:3: {tmp_path}/b.mp4 is missing",
        f"{table}:4: no glosses for a.mp4",
        f"{table}:5: broken line (unexpected end of data)",
        f"{table}:6: split 'trainer'; write train, val or test",
        f"{table}:7: no filename",
        f"{table}:8: 2 fields, but the header has 3",
    ]


def test_the_csv_must_be_found(tmp_path):
    with pytest.raises(WSignError, match=r"x: no such folder"):
        folder.read(tmp_path / "x")
    with pytest.raises(WSignError, match=r"no videos in it, no folders of pictures, and no \.pose"):
        folder.read(tmp_path)
    for name in "ab":
        corpora.write(tmp_path / f"{name}.csv", "filename,glosses\n")
    with pytest.raises(WSignError, match=r"2 \.csv files in it"):
        folder.read(tmp_path)
    assert not folder.read(tmp_path, csv=tmp_path / "a.csv").records
    (tmp_path / "a.csv").write_bytes(b"filename,glosses\nh\xe9.mp4,X\n")
    with pytest.raises(WSignError, match=r"a\.csv: not UTF-8 text .*; save it as UTF-8"):
        folder.read(tmp_path, csv=tmp_path / "a.csv")
    with pytest.raises(WSignError, match=r"--fps=0: give a number over 0"):
        folder.read(tmp_path, fps=0)


def test_whatever_the_extraction_reads_is_a_video_or_a_picture(tmp_path):
    corpora.touch(tmp_path / "pictures" / "1.webp")
    corpora.write(tmp_path / "signs.csv", "filename,glosses\npictures,HELLO\n")
    corpus = folder.read(tmp_path)
    assert len(corpus.records) == 1 and not corpus.problems


def clip(path, frames=6, values=258, face=None):
    """An array of vectors, the left hand not seen, as MediaPipe Holistic's users save it."""
    array = np.random.default_rng(0).uniform(0.4, 0.6, (frames, values))
    array[:, -126:-63] = 0.0
    if face:
        ends = array[:, 132 : 132 + 1404].reshape(frames, 468, 3)[:, [10, 152, 234, 454]]
        ends[:, :, :2] = [[0.5, 0.2], [0.5, 0.2 + 0.1 * 1.22 * face], [0.4, 0.5], [0.5, 0.5]]
        array[:, 132 : 132 + 1404].reshape(frames, 468, 3)[:, [10, 152, 234, 454]] = ends
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return array


@pytest.mark.parametrize(
    ("files", "records"),
    [
        (["hello/1.mp4", "hello/10.mp4", "two words/1.MOV"],
         [("hello_1", "hello"), ("hello_10", "hello"), ("two words_1", "two-words")]),
        (["b.mp4", "hello.mp4"], [("b", "b"), ("hello", "hello")]),
        (["tea/2.pose", "tea/3.npy"], [("tea_2", "tea"), ("tea_3", "tea")]),
        (["tea/2/sequence.npy", "tea/11/sequence.npy"],
         [("tea_2_sequence", "tea"), ("tea_11_sequence", "tea")]),
        (["tea/2/1.jpg", "tea/2/2.jpg", "tea/3/1.jpg"], [("tea_2", "tea"), ("tea_3", "tea")]),
        (["hello/.hidden.mp4", ".x/1.mp4", "hello/1.mp4", "hello/notes.txt", "_/1.mp4"],
         [("__1", ""), ("hello_1", "hello")]),
    ],
)  # fmt: skip
def test_without_a_csv_folders_and_files_are_the_glosses(tmp_path, files, records):
    for file in files:
        corpora.touch(tmp_path / file)
        if file.endswith(".npy"):
            clip(tmp_path / file)
    corpus = folder.read(tmp_path)
    assert [(r.id, "".join(r.glosses)) for r in corpus.records] == records
    assert not corpus.problems and "a CSV is for sentences" in corpus.notes[0]
    assert f"{len(records)} clips of " in corpus.notes[0]


def test_folders_above_the_signs_are_people_and_splits(tmp_path):
    for file in ("train/anna/hello/1.mp4", "train/ben/hello/1.mp4", "Test/carla/hello/1.mp4"):
        corpora.touch(tmp_path / file)
    corpus = folder.read(tmp_path)
    assert {(r.id, r.glosses, r.signer, r.split) for r in corpus.records} == {
        ("train_anna_hello_1", ("hello",), "anna", "train"),
        ("train_ben_hello_1", ("hello",), "ben", "train"),
        ("Test_carla_hello_1", ("hello",), "carla", "test"),
    }
    assert "anna, ben, carla as people" in corpus.notes[1]


@pytest.mark.parametrize(
    ("values", "face", "aspect"), [(126, None, 4 / 3), (258, None, 4 / 3), (1662, 1.7, 16 / 9)]
)
def test_arrays_are_hands_after_body_and_face_measured_at_the_face(tmp_path, values, face, aspect):
    array = clip(tmp_path / "tea" / "1.npy", values=values, face=face)
    corpus = folder.read(tmp_path, fps=15.0)
    assert corpus.recorded["aspect"]["value"] == aspect
    keypoints = corpus.records[0].keypoints()
    right = array[:, -63:].reshape(6, 21, 3) / [1, aspect, 1]
    np.testing.assert_allclose(keypoints.positions[:, corpora.RIGHT], right)
    np.testing.assert_array_equal(keypoints.confidence, np.tile([0.0, 1.0], (6, 1)))
    np.testing.assert_allclose(keypoints.times, np.arange(6) / 15)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(258), "float64[258] is not (T, 126), (T, 258) or (T, 1662) numbers; folders of such"),
        (np.zeros((4, 1404)), "float64[4, 1404] is not (T, 126), (T, 258)"),
        (np.zeros((0, 126)), "no frames in it"),
        (np.array([["x"] * 126]), "holds <U1, not real numbers; save it again"),
        (None, "unreadable"),
    ],
)  # fmt: skip
def test_another_array_is_one_line(tmp_path, array, message):
    path = tmp_path / "tea" / "1.npy"
    clip(path)
    (record,) = folder.read(tmp_path).records
    path.write_bytes(b"no array")
    if array is not None:
        np.save(path, array)
    with pytest.raises(WSignError) as caught:
        record.keypoints()
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)

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
    corpus = prepare.read("folder", root, fps=30.0)
    assert [(r.split, r.id, r.glosses, r.signer, r.fps) for r in corpus.records] == [
        ("train", "réponse nº 1", ("BONJOUR", "ÇA-VA"), "Zoë", None),
        ("val", "b", ("BONJOUR",), "Ann", None),
        ("test", "pictures", ("ÇA-VA",), "Ann", 30.0),
    ]
    assert not corpus.problems


def test_broken_rows_are_named_one_by_one(tmp_path):
    corpora.touch(tmp_path / "a.mp4")
    corpora.touch(tmp_path / "sub" / "a.mp4")
    table = corpora.write(
        tmp_path / "signs.csv",
        'filename,glosses,split\na.mp4,HELLO,train\nb.mp4,HELLO,train\na.mp4,,train\n"a.mp4,HELLO\n'
        "a.mp4,HELLO,training\n,HELLO,val\na.mp4,HELLO\nsub/a.mp4,HELLO,train\n",
    )
    corpus = folder.read(tmp_path)
    _, problems = prepare.check(corpus, prepare.label_map(corpus, None))
    assert sorted(problems) == [
        f"{table}:3: {tmp_path}/b.mp4 is missing",
        f"{table}:4: no glosses for a.mp4",
        f"{table}:5: broken line (unexpected end of data)",
        f"{table}:6: split 'training'; write train, val or test",
        f"{table}:7: no filename",
        f"{table}:8: 2 fields, but the header has 3",
        f"{table}:9: id 'a' is that of {table}:2 too; change one",
    ]


def test_the_csv_must_be_found(tmp_path):
    with pytest.raises(WSignError, match=r"x: no such folder"):
        folder.read(tmp_path / "x")
    with pytest.raises(WSignError, match=r"no \.csv in it; name the annotations with --csv=FILE"):
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

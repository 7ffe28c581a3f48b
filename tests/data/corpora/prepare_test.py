import json
import pathlib

import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.corpora import prepare
from wsign_jax.data.corpora.assign_splits import SplitSettings
from wsign_jax.keypoints import joints


def read_back(root, name="train"):
    vocab_size = len(files.read_json(root / "label_map.json"))
    return layout.read_split(root, name, validate.Rules(vocab_size, 4, 1500))


def files_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_videos_become_a_data_set(tmp_path):
    corpora.phoenix2014(tmp_path)
    corpus = prepare.read_corpus("phoenix2014", tmp_path)
    extraction, lines = corpora.FakeExtraction(), []
    out = tmp_path / "processed"
    prepare.write_dataset(corpus, out, prepare.ImportSettings(), extraction, lines.append)
    assert lines[0].startswith("left out 13April_2011")
    assert lines[1:4] == ["train: 1 examples", "val: 1 examples", "test: 1 examples"]
    ids = files.read_json(out / "label_map.json")
    assert ids["<blank>"] == 0 and sorted(ids.values()) == list(range(8))
    for split, (published, row) in zip(
        layout.SPLITS, [("train", 0), ("dev", 0), ("test", 0)], strict=True
    ):
        id, signer, glosses = corpora.PHOENIX_ROWS[published][row]
        read = read_back(out, split)
        assert read.ids == (id,) and layout.read_groups(read.root, read.name, "signer") == {
            id: signer
        }
        assert read.labels[0].tolist() == [ids[gloss] for gloss in glosses.split()]
    assert {clip.fps for clip in extraction.read} == {25.0}
    about = files.read_json(out / "dataset.json")
    assert about["corpus"] == "phoenix2014" and about["options"] == {"root": str(tmp_path)}
    assert about["examples"] == {"train": 1, "val": 1, "test": 1} and about["left_out"] == 0
    assert not [path for path in files_in(out) if path.startswith(".")]


def test_parts_and_boxes_of_videos_are_handed_on(tmp_path):
    corpus = prepare.read_corpus("msasl", corpora.msasl(tmp_path / "msasl"))
    extraction = corpora.FakeExtraction()
    prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings(), extraction)
    second = extraction.read[1]
    assert (second.start_s, second.end_s, second.box) == (4.0, 5.5, (0.1, 0.2, 0.9, 0.8))
    assert second.source.name == "aB-3_x.mp4"


def test_what_the_extraction_notes_is_kept(tmp_path):
    class Noting(corpora.FakeExtraction):
        def extract_clips(self, clips, output_dir, settings, workers=0):
            assert settings == "usual" and workers == 3
            files.write_json(output_dir.parent / "dataset.json", {"extraction": {"by": "x"}})
            return super().extract_clips(clips, output_dir, settings, workers)

    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    settings = prepare.ImportSettings(extraction="usual", workers=3)
    prepare.write_dataset(corpus, tmp_path / "out", settings, Noting())
    assert files.read_json(tmp_path / "out" / "dataset.json")["extraction"] == {"by": "x"}


def test_keypoints_become_features_at_60_hz_in_image_widths(tmp_path):
    root = corpora.npz_clips(tmp_path / "clips")
    corpus = prepare.read_corpus("npz", root, fps=30.0, aspect=2.0)
    prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings())
    with np.load(root / "hello.npz") as arrays:
        clip = arrays["keypoints"][0].astype(np.float64) / [1, 2, 1]
    (path,) = (tmp_path / "out").glob("*/features/hello_00000.npy")
    features = np.load(path)
    assert features.shape == (39, 42, 7) and features.dtype == np.float32
    right = features[:, joints.RIGHT]
    np.testing.assert_allclose(right[::2, :, :3], clip[:, joints.RIGHT], atol=1e-6)
    middle = (clip[3, joints.RIGHT] + clip[4, joints.RIGHT]) / 2
    np.testing.assert_allclose(right[7, :, :3], middle, atol=1e-6)
    velocity = (clip[4, joints.RIGHT] - clip[3, joints.RIGHT]) * 30
    np.testing.assert_allclose(right[7, :, 3:6], velocity, atol=1e-4)
    assert not features[:, joints.LEFT].any()
    assert "aspect" not in files.read_json(tmp_path / "out" / "dataset.json")


def test_clips_without_splits_get_them_by_session(tmp_path):
    corpus = prepare.read_corpus("npz", corpora.npz_clips(tmp_path / "clips", count=16))
    prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings())
    sessions = {record.id: record.session for record in corpus.records}
    where = [
        {sessions[path.stem] for path in (tmp_path / "out" / split / "features").iterdir()}
        for split in layout.SPLITS
    ]
    assert all(where) and not where[0] & where[1] and not where[1] & where[2]
    assert "recorded_together" not in files.read_json(tmp_path / "out" / "dataset.json")


def test_sentences_without_splits_get_them_by_signer(tmp_path):
    rows = [f"{n}.mp4,HELLO YOU,{n % 5}" for n in range(40)]
    corpora.write(tmp_path / "v" / "x.csv", "\n".join(["filename,glosses,signer", *rows]))
    for n in range(40):
        corpora.touch(tmp_path / "v" / f"{n}.mp4")
    corpus = prepare.read_corpus("folder", tmp_path / "v")
    prepare.write_dataset(
        corpus, tmp_path / "out", prepare.ImportSettings(), corpora.FakeExtraction()
    )
    where = [set(layout.read_groups(tmp_path / "out", s, "signer").values()) for s in layout.SPLITS]
    assert sum(map(len, where)) == len(set.union(*where)) == 5 and all(where)


@pytest.mark.parametrize("signers", [1, 2])
def test_sentences_of_too_few_signers_are_split_one_by_one(tmp_path, signers):
    rows = [f"{n}.mp4,HELLO YOU,{n % signers}" for n in range(20)]
    corpora.write(tmp_path / "v" / "x.csv", "\n".join(["filename,glosses,signer", *rows]))
    for n in range(20):
        corpora.touch(tmp_path / "v" / f"{n}.mp4")
    corpus, lines = prepare.read_corpus("folder", tmp_path / "v"), []
    out = tmp_path / "out"
    prepare.write_dataset(
        corpus, out, prepare.ImportSettings(), corpora.FakeExtraction(), lines.append
    )
    assert lines[0] == "splits by clip, at random"
    assert lines[1].startswith(
        f"warning: the same people are in several splits ({', '.join('01'[:signers])}): "
    )
    assert lines[2:5] == ["train: 14 examples", "val: 3 examples", "test: 3 examples"]
    assert files.read_json(out / "dataset.json")["splits"]["by"] == "clip"


def test_an_empty_split_is_warned_of_before_anything_is_extracted(tmp_path):
    corpora.write(tmp_path / "v" / "x.csv", "filename,glosses,split\na.mp4,HELLO YOU,train\n")
    corpora.touch(tmp_path / "v" / "a.mp4")
    corpus, lines = prepare.read_corpus("folder", tmp_path / "v"), []
    prepare.write_dataset(
        corpus, tmp_path / "out", prepare.ImportSettings(), corpora.FakeExtraction(), lines.append
    )
    assert lines[0] == "no clips for val and test: they are taken from those of train"
    assert lines[2] == (
        "warning: no clips for val and test; a training run needs train, val and test"
    )


def test_bad_annotations_are_all_named_before_anything_is_written(tmp_path):
    root = corpora.lsa64(tmp_path / "lsa")
    corpora.touch(root / "a.mp4")
    corpora.touch(root / "all" / "b" / "001_001_001.mp4")
    mapping = corpora.write(tmp_path / "map.json", '{"<blank>": 0, "001": 7}')
    corpus = prepare.read_corpus("lsa64", root)
    settings = prepare.ImportSettings(label_map=mapping)
    with pytest.raises(WSignError, match=r"lsa64: 5 bad annotations; fix them, or leave") as error:
        prepare.write_dataset(corpus, tmp_path / "out", settings, corpora.FakeExtraction())
    lines = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert lines == [
        f"{root}/a.mp4: its name is not <sign>_<signer>_<repetition>",
        f"{root}/all/064_001_001.mp4: gloss '064' is not in the vocabulary",
        f"{root}/all/064_009_001.mp4: gloss '064' is not in the vocabulary",
        f"{root}/all/064_010_001.mp4: gloss '064' is not in the vocabulary",
        f"{root}/all/b/001_001_001.mp4: id '001_001_001' is that of {root}/all/001_001_001.mp4 too; "
        "change one",
    ]
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    lines = []
    settings = prepare.ImportSettings(label_map=mapping, on_bad="skip")
    prepare.write_dataset(
        corpus, tmp_path / "out", settings, corpora.FakeExtraction(), lines.append
    )
    assert sum(line.startswith("warning: left out ") for line in lines) == 5
    assert files.read_json(tmp_path / "out" / "label_map.json") == {
        "<blank>": 0, **{f"<unused-{id}>": id for id in range(1, 7)}, "001": 7
    }  # fmt: skip
    assert read_back(tmp_path / "out").labels[0].tolist() == [7]
    assert files.read_json(tmp_path / "out" / "dataset.json")["left_out"] == 5


def test_failed_clips_stop_no_other_and_the_next_run_goes_on(tmp_path):
    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    out = tmp_path / "out"
    broken = corpora.FakeExtraction(broken=("064_009_001",))
    with pytest.raises(
        WSignError,
        match=r"1 of 6 clips failed \(1 of 3 of 064, over 5%\); the others are kept for next",
    ) as error:
        prepare.write_dataset(corpus, out, prepare.ImportSettings(), broken)
    assert "064_009_001: " in str(error.value) and "has no frames" in str(error.value)
    assert not out.exists() and len(broken.read) == 5
    mended = corpora.FakeExtraction()
    prepare.write_dataset(corpus, out, prepare.ImportSettings(), mended)
    assert [clip.id for clip in mended.read] == ["064_009_001"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "lsa"] == ["out"]


def test_an_unfinished_data_set_is_gone_on_with_after_a_gloss_was_mended(tmp_path):
    table = tmp_path / "v" / "x.csv"
    rows = ["filename,glosses", *(f"{n}.mp4,HELLO" for n in range(9)), "9.mp4,HELO"]
    for n in range(10):
        corpora.touch(tmp_path / "v" / f"{n}.mp4")
    for text, broken in (("\n".join(rows), ("4",)), ("\n".join(rows).replace("HELO", "HELLO"), ())):
        corpus = prepare.read_corpus("folder", corpora.write(table, text).parent)
        extraction = corpora.FakeExtraction(broken=broken)
        if broken:
            with pytest.raises(WSignError, match="1 of 10 clips failed"):
                prepare.write_dataset(
                    corpus, tmp_path / "out", prepare.ImportSettings(), extraction
                )
        else:
            prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings(), extraction)
    assert "4" in {clip.id for clip in extraction.read} and len(extraction.read) < 10
    assert "HELO" not in files.read_json(tmp_path / "out" / "label_map.json")


def test_failed_clips_can_be_left_out(tmp_path):
    corpus = prepare.read_corpus("mp_data", corpora.mp_data(tmp_path))
    broken = tmp_path / "MP_Data" / "hello" / "0" / "0.npy"
    np.save(broken, np.zeros(3))
    for frame in range(8):
        np.save(broken.parents[1] / "1" / f"{frame}.npy", np.zeros(200))
    lines = []
    with pytest.raises(WSignError, match="2 of 12 clips failed"):
        prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings())
    prepare.write_dataset(
        corpus, tmp_path / "out", prepare.ImportSettings(on_bad="skip"), progress=lines.append
    )
    left_out = [line for line in lines if line.startswith("warning: left out ")]
    assert f"warning: left out {broken}: float64[3] is not a vector" in left_out[0]
    assert left_out[1].endswith("hello/1: no hand in any of its frames")
    both = [path for split in layout.SPLITS for path in (tmp_path / "out" / split).glob("*/*.npy")]
    assert len(both) == 20 and not any(path.stem in ("hello_0", "hello_1") for path in both)


def test_an_unfinished_data_set_is_gone_on_with_only_if_it_is_the_same(tmp_path, monkeypatch):
    def read(**options):
        return prepare.read_corpus("lsa64", tmp_path / "lsa", **options)

    corpora.lsa64(tmp_path / "lsa")
    out = tmp_path / "out"
    first = corpora.FakeExtraction()
    monkeypatch.setattr(layout, "write_label_map", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare.write_dataset(read(), out, prepare.ImportSettings(), first)
    monkeypatch.undo()
    with pytest.raises(
        WSignError, match=r"\.out\.lsa64-partial: an unfinished data set with other"
    ):
        other = prepare.ImportSettings(splits=SplitSettings(val_signers=("1",)))
        prepare.write_dataset(read(), out, other, first)
    # A video in another place is another video.
    (tmp_path / "lsa" / "all" / "001_001_001.mp4").rename(tmp_path / "lsa" / "001_001_001.mp4")
    (tmp_path / "lsa" / "all" / "064_001_001.mp4").unlink()
    second = corpora.FakeExtraction()
    prepare.write_dataset(read(), out, prepare.ImportSettings(), second)
    assert len(first.read) == 6 and [clip.id for clip in second.read] == ["001_001_001"]
    assert read_back(out).ids == ("001_001_001",)


def test_two_commands_do_not_share_an_unfinished_data_set(tmp_path):
    class Meanwhile(corpora.FakeExtraction):
        def extract_clips(self, *arguments):
            with pytest.raises(
                WSignError, match="out: another command is making it; wait for its e"
            ):
                prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings(), self)
            return super().extract_clips(*arguments)

    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings(), Meanwhile())
    assert len(read_back(tmp_path / "out")) == 2


def test_an_existing_data_set_is_left_alone(tmp_path):
    mine = corpora.write(tmp_path / "out" / "label_map.json", "mine")
    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    with pytest.raises(WSignError, match=r"out: already holds something"):
        prepare.write_dataset(
            corpus, tmp_path / "out", prepare.ImportSettings(), corpora.FakeExtraction()
        )
    assert files_in(tmp_path / "out") == ["label_map.json"] and mine.read_text() == "mine"


def test_a_corpus_without_anything_usable_is_an_error(tmp_path):
    corpora.touch(tmp_path / "lsa" / "x.mp4")
    corpus = prepare.read_corpus("lsa64", tmp_path / "lsa")
    with pytest.raises(
        WSignError, match=r"nothing to make a data set of; .*\n  .*/x\.mp4: its name"
    ):
        prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings(on_bad="skip"))


def imported(tmp_path, *roots, leave_out=(), **settings):
    """Imports MP_Data; returns the printed lines, and the ids of each split."""
    lines, out = [], tmp_path / "out"
    corpus = prepare.read_corpus("mp_data", *roots, leave_out=leave_out)
    prepare.write_dataset(corpus, out, prepare.ImportSettings(**settings), progress=lines.append)
    return lines, {s: {p.stem for p in (out / s / "labels").glob("*")} for s in layout.SPLITS}


def test_background_is_clips_without_a_gloss(tmp_path):
    root = corpora.mp_tree(tmp_path / "in", ("hello", "None", "_", "tea"))
    for frame in (root / "_" / "1").iterdir():
        np.save(frame, np.zeros(258))  # nobody is there
    lines, ids = imported(tmp_path, root, leave_out=("tea",))
    assert files.read_json(tmp_path / "out" / "label_map.json") == {"<blank>": 0, "hello": 1}
    assert sorted(set.union(*ids.values())) == [
        "None_0", "None_1", "None_2", "__0", "__2", "hello_0", "hello_1", "hello_2"
    ]  # fmt: skip
    train = read_back(tmp_path / "out")
    of_train = dict(zip(train.ids, train.labels, strict=True))
    assert of_train["hello_0"].tolist() == [1] and len(of_train["None_0"]) == 0
    assert "left out 3 clips of tea" in lines
    assert any(
        line.startswith("took 6 clips as background, without a gloss, such") for line in lines
    )
    assert f"warning: left out {root}/_/1: no hand in any of its frames" in lines
    with pytest.raises(WSignError, match="all 6 clips are background, without a gloss; rename"):
        imported(tmp_path / "alone", root, leave_out=("tea", "hello"))
    assert all(
        record.glosses
        for record in prepare.read_corpus("mp_data", root, leave_out=("none",)).records
    )
    with pytest.raises(
        WSignError, match="--leave_out=coffee: no such gloss; the glosses are: hello, tea"
    ):
        prepare.read_corpus("mp_data", root, leave_out=("coffee",))


def test_an_id_may_not_be_in_a_split_twice_even_if_they_are_drawn_anew(tmp_path):
    keypoints = np.tile(corpora.HAND, (2, 9, 2, 1))
    ids, of_each = np.array(["x", "x"]), np.array(["train", "test"])
    np.savez(tmp_path / "a.npz", keypoints=keypoints, id=ids, split=of_each)
    corpus = prepare.read_corpus("npz", tmp_path)
    anew = prepare.ImportSettings(splits=SplitSettings(split_by="clip"))
    with pytest.raises(WSignError, match=r"clip 1: id 'x' is that of .*clip 0 too; change one"):
        prepare.write_dataset(corpus, tmp_path / "out", anew)
    prepare.write_dataset(corpus, tmp_path / "out", prepare.ImportSettings())


def test_several_folders_become_one_data_set(tmp_path):
    roots = [tmp_path / who / "MP_Data" for who in ("anna", "ben", "cleo")]
    for seed, root in enumerate(roots):
        corpora.mp_tree(root, seed=seed, face=2.1 if seed else 1.63)
    with pytest.raises(
        WSignError, match=f"--root={roots[0]}: is in --root={roots[0].parent} already"
    ):
        prepare.read_corpus("mp_data", *roots, roots[0].parent)
    lines, ids = imported(tmp_path, *roots, splits=SplitSettings(test_signers=("ben",)))
    assert ids["test"] == {f"ben_MP_Data_hello_{n}" for n in range(3)}
    assert layout.read_groups(tmp_path / "out", "test", "signer") == dict.fromkeys(
        ids["test"], "ben"
    )
    assert "took the folders anna, ben, cleo as people; MP_Data as sessions" in lines
    recorded = files.read_json(tmp_path / "out" / "dataset.json")["recorded"]
    assert [recorded[str(root)]["aspect"]["value"] for root in roots] == [4 / 3, 16 / 9, 16 / 9]


def test_what_is_wrong_in_silence_is_said(tmp_path):
    corpora.mp_tree(tmp_path / "in" / "Train", ("a", "b"), range(4))
    corpora.mp_tree(tmp_path / "in" / "Test", ("a",), range(4))  # the same random numbers
    lines, ids = imported(tmp_path, tmp_path / "in")
    assert len(ids["test"]) == 4 and ids["val"] <= {
        f"Train_{s}_{n}" for s in "ab" for n in range(4)
    }
    assert any(
        line.startswith("warning: 8 clips are copies that are in two splits") for line in lines
    )
    root = corpora.mp_tree(tmp_path / "faces")
    for path in root.rglob("*.npy"):
        np.save(path, np.random.default_rng(0).random(1500))
    with pytest.raises(
        WSignError, match=r"/0: only \d+% of its and other clips' hands have a hand's pr"
    ):
        prepare.write_dataset(
            prepare.read_corpus("mp_data", root), tmp_path / "no", prepare.ImportSettings()
        )
    for path in root.rglob("*.npy"):
        np.save(path, np.zeros(1404))
    with pytest.raises(
        WSignError, match=r"3 of 3 clips .*\n.*1404 values are a face; both hands' 2 x"
    ):
        prepare.write_dataset(
            prepare.read_corpus("mp_data", root), tmp_path / "no", prepare.ImportSettings()
        )
    assert not (tmp_path / "no").exists()


def test_rounds_side_by_side_are_sessions(tmp_path):
    source = pathlib.Path(__file__).parents[4] / "shared" / "data" / "ksl"
    if not source.is_dir():
        pytest.skip("needs ../shared/data")
    root = corpora.ksl_trees(source, tmp_path / "in", each=1)
    lines, ids = imported(tmp_path, root)
    rounds = {split: {id.split("_")[1] for id in some} for split, some in ids.items()}
    assert sum(map(len, rounds.values())) == 5 and all(rounds.values())
    assert sum(map(len, ids.values())) == 65
    assert (
        lines[0] == "took the folders MP_Data, MP_Data1, MP_Data2, MP_Data3, MP_Data4 as sessions"
    )


def test_unknown_names_and_settings_are_named(tmp_path):
    with pytest.raises(WSignError, match="unknown corpus 'how2sign'; the known ones are asl_fing"):
        prepare.read_corpus("how2sign", tmp_path)
    for option in ("aspect", "return"):
        with pytest.raises(WSignError, match=f"--{option} is not an option of lsa64; leave it out"):
            prepare.read_corpus("lsa64", tmp_path, **{option: 1})
    for change, message in (
        ({"on_bad": "drop"}, "--on_bad=drop: write few, error or skip"),
        ({"workers": -1}, "--workers must be 0 or more"),
    ):
        with pytest.raises(WSignError, match=message):
            prepare.ImportSettings(**change)


def test_names_that_leave_their_folder_or_line_are_named(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        keypoints=np.ones((6, 5, 42, 3)),
        id=np.array(["../x", ".hidden", "fine", "N\0L", "d", "e"]),
        glosses=np.array(["A", "A", "", "A", "half\ud800", "A"]),
        signer=np.array(["", "", "", "", "", "\x1b[31m"]),
    )
    corpus = prepare.read_corpus("npz", tmp_path)
    ids = prepare.label_map(corpus, None)
    assert ids == {"<blank>": 0, "A": 1, "a": 2}
    usable, problems = prepare.check_records(corpus, ids)
    assert [record.id for record in usable] == ["fine"] and usable[0].glosses == ("a",)
    assert [problem.partition(": clip ")[2] for problem in problems] == [
        "0: the id '../x' would leave its folder or be hidden; rename it",
        "1: the id '.hidden' would leave its folder or be hidden; rename it",
        "3: the id 'N\\x00L' has a line break or a control character in it; rename it",
        "4: gloss 'half\\ud800' is not UTF-8 text; rename it",
        "5: the signer '\\x1b[31m' has a line break or a control character in it; rename it",
    ]


def test_a_given_vocabulary_is_checked(tmp_path):
    corpus = prepare.read_corpus("lsa64", corpora.lsa64(tmp_path / "lsa"))
    bad = corpora.write(tmp_path / "map.json", json.dumps({"<blank>": 1}))
    with pytest.raises(WSignError, match=r'map\.json: id 0 belongs to "<blank>"'):
        prepare.label_map(corpus, bad)

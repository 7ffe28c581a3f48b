import json
import os
import time

import numpy as np
import pytest

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate

RULES = validate.Rules(vocab_size=6, patch_size=4, max_seq_length=120)


def test_segments_must_agree_with_the_labels(tmp_path, dataset):
    split = layout.read_split(dataset, "val", RULES)
    assert layout.read_segments(split, 0) is None
    path = dataset / "val" / "segments" / f"{split.ids[0]}.csv"
    path.parent.mkdir()
    path.write_text("gloss_id,start_s,end_s\n9,0.0,0.1\n")
    with pytest.raises(WSignError, match="not those of the label file"):
        layout.read_segments(split, 0)
    path.write_text("gloss_id,start_s,end_s\nx\n")
    with pytest.raises(WSignError, match="not a table"):
        layout.read_segments(split, 0)


def test_the_first_features_of_a_split(tmp_path, dataset):
    with pytest.raises(
        WSignError, match="nowhere: has no features; name a data set with a nowhere split"
    ):
        layout.first_features(dataset, "nowhere")
    files.write_json(dataset / "dataset.json", {"aspect": 2.0})
    split = layout.read_split(dataset, "val", RULES)
    id, features = layout.first_features(dataset, "val")
    assert id == split.ids[0]
    np.testing.assert_array_equal(features, split.features(0))
    (dataset / "val" / "features" / f"{id}.npy").write_bytes(b"no array")
    with pytest.raises(WSignError, match=f"{id}.npy"):
        layout.first_features(dataset, "val")


def spoil_features(path, change):
    np.save(path, change(np.load(path)))


def with_nan(x):
    x[7, 3, 2] = np.nan
    return x


def with_garbage(x):
    x[7, 3, 2] = -1e30
    return x


FEATURE_CASES = {
    "shape": (lambda x: x[:, :, :6], r"shape \(\d+, 42, 6\) is not \(T, 42, 7\)"),
    "rank": (lambda x: x[0], r"shape \(42, 7\) is not"),
    "dtype": (lambda x: x.astype(np.float64), "dtype float64 is not float32"),
    "nan": (with_nan, "has NaN or infinity, first in frame 7"),
    "garbage": (with_garbage, "has -1e\\+30 in frame 7, joint 3, feature 2: not a keypoint's"),
    "infinity": (lambda x: x / np.float32(0), "has NaN or infinity"),
    "empty": (lambda x: x[:0], "has no frames"),
    "no hand": (np.zeros_like, "no hand is in it; leave it out"),
    "long": (lambda x: np.tile(x, (9, 1, 1)), "frames are over data.max_seq_length=120"),
    "short": (lambda x: x[:3], r"CTC cannot emit \d+ glosses"),
}


@pytest.mark.parametrize("case", FEATURE_CASES)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_bad_features_are_named_with_their_rule(dataset, case):
    change, message = FEATURE_CASES[case]
    path = dataset / "train" / "features" / "train_03.npy"
    np.save(dataset / "train" / "labels" / "train_03.npy", np.array([1, 1]))
    spoil_features(path, change)
    with pytest.raises(WSignError, match=message) as error:
        layout.read_split(dataset, "train", RULES)
    assert "train_03.npy" in str(error.value)
    assert "1 bad of 12 examples" in str(error.value)


LABEL_CASES = {
    "outside": (np.array([2, 6]), r"gloss id 6 is not in the vocabulary \(1 to 5\)"),
    "blank": (np.array([0]), "gloss id 0 is not in the vocabulary"),
    "float": (np.array([1.0]), "not a .* array of integers"),
    "matrix": (np.array([[1]]), "not a .* array of integers"),
    "repeats": (np.array([1] * 13), r"CTC cannot emit 13 glosses \(25 patches"),
}


@pytest.mark.parametrize("case", LABEL_CASES)
def test_bad_labels_are_named_with_their_rule(dataset, case):
    labels, message = LABEL_CASES[case]
    np.save(dataset / "train" / "labels" / "train_05.npy", labels)
    with pytest.raises(WSignError, match=message) as error:
        layout.read_split(dataset, "train", RULES)
    assert "labels/train_05.npy" in str(error.value)


def test_unreadable_and_unpaired_files_are_named(dataset):
    features, labels = dataset / "train" / "features", dataset / "train" / "labels"
    content = (features / "train_00.npy").read_bytes()
    (features / "train_00.npy").write_bytes(content[: len(content) // 2])
    (features / "train_01.npy").write_bytes(b"")
    (features / "train_02.npy").write_bytes(b"not an array")
    np.save(features / "train_03.npy", np.array([{"a": 1}]), allow_pickle=True)
    (labels / "train_04.npy").unlink()
    (features / "train_05.npy").unlink()
    with (features / "train_06.npy").open("wb") as file:
        np.savez(file, x=np.zeros(3))
    with pytest.raises(WSignError, match="7 bad of 12 examples") as error:
        layout.read_split(dataset, "train", RULES)
    message = str(error.value)
    for number in (0, 1, 2, 3, 6):
        assert f"features/train_0{number}.npy: unreadable" in message
    assert "labels/train_04.npy: missing" in message
    assert "features/train_05.npy: missing, but train_05.npy has labels" in message


def test_what_is_no_file_and_what_has_no_name_in_utf8_is_named(dataset):
    features, labels = dataset / "train" / "features", dataset / "train" / "labels"
    (features / "train_00.npy").unlink()
    os.mkfifo(features / "train_00.npy")
    (features / "train_01.npy").unlink()
    (features / "train_01.npy").mkdir()
    for folder in (features, labels):
        (folder / "train_02.npy").rename(os.fsdecode(os.fsencode(folder) + b"/train_\xff.npy"))
        (folder / "train_03.npy").rename(folder / "train_äß手.npy")
    with pytest.raises(WSignError, match="3 bad of 12 examples") as error:
        layout.read_split(dataset, "train", RULES)
    message = str(error.value)
    message.encode()  # so that it can be printed
    for number in (0, 1):
        assert f"features/train_0{number}.npy: unreadable (not a file)" in message
    assert "train/features: the id 'train_\\udcff' is not UTF-8 text; rename it" in message


def test_a_damaged_header_is_named_whatever_it_makes_numpy_raise(dataset):
    path = dataset / "val" / "features" / "val_00.npy"
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = content.copy()
        damaged[int(rng.integers(6, 118))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            layout.read_split(dataset, "val", RULES)
        except WSignError as error:
            assert "val_00.npy: " in str(error)


def test_bad_examples_can_be_skipped_and_are_counted(dataset, capsys):
    (dataset / "train" / "labels" / "train_04.npy").unlink()
    split = layout.read_split(dataset, "train", RULES, on_bad="skip")
    assert len(split) == 11 and split.skipped == 1
    assert "train_04" not in split.ids
    assert "left out" in capsys.readouterr().out


def test_nothing_left_is_an_error_even_when_skipping(dataset):
    for path in (dataset / "val" / "labels").iterdir():
        path.unlink()
    with pytest.raises(WSignError, match="none of its 5 examples is usable"):
        layout.read_split(dataset, "val", RULES, on_bad="skip")


def test_an_empty_or_missing_split_is_an_error(tmp_path):
    with pytest.raises(WSignError, match="the val split is empty"):
        layout.read_split(tmp_path, "val", RULES)


def test_y_is_brought_to_image_widths(dataset):
    plain = layout.read_split(dataset, "val", RULES)
    (dataset / "dataset.json").write_text(json.dumps({"aspect": 2.0}))
    wide = layout.read_split(dataset, "val", RULES)
    expected = plain.features(0).copy()
    expected[..., [1, 4]] /= 2.0
    np.testing.assert_array_equal(wide.features(0), expected)
    given = layout.read_split(dataset, "val", RULES, aspect=1.0)
    np.testing.assert_array_equal(given.features(0), plain.features(0))


@pytest.mark.parametrize(
    "content",
    ["{", "[]"]
    + [f'{{"aspect": {aspect}}}' for aspect in ("0", '"wide"', "1e-300", "Infinity", "NaN", "true")]
    + ['{"aspect": ' + digits * "9" + "}" for digits in (400, 5000)],
    ids=lambda content: content[:20],
)
def test_a_bad_dataset_json_is_named(dataset, content):
    (dataset / "dataset.json").write_text(content)
    with pytest.raises(WSignError, match=r"dataset\.json: "):
        layout.read_split(dataset, "val", RULES)


CHANGED = {
    "shorter": lambda x: x[:5],
    "NaN": with_nan,
    "no hand": np.zeros_like,
    "rank": lambda x: x.reshape(len(x), -1),
    "scalar": lambda x: x[0, 0, 0],
    "dtype": lambda x: x.astype(np.float64),
    "text": lambda x: np.full(x.shape, "x"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_file_that_changes_during_the_run_is_noticed(dataset, case):
    split = layout.read_split(dataset, "val", RULES)
    path = dataset / "val" / "features" / f"{split.ids[0]}.npy"
    spoil_features(path, CHANGED[case])
    with pytest.raises(WSignError) as error:
        split.features(0)
    assert str(error.value) == f"{path}: changed or became unreadable during the run; restore it"


@pytest.mark.parametrize("kept", [True, False])
def test_keypoints_are_the_features_read_once_if_the_split_is_small(dataset, monkeypatch, kept):
    split = layout.read_split(dataset, "val", RULES, aspect=2.0)
    size = 4 * (42 * 3 + 2) * int(split.frames.sum())  # float32
    monkeypatch.setattr(layout, "_MOST_KEPT", size if kept else size - 1)
    features = split.features(1)
    positions, confidence = split.keypoints(1)
    np.testing.assert_array_equal(positions, features[..., :3])
    np.testing.assert_array_equal(confidence, features[:, [0, 21], 6])
    assert (split.keypoints(1)[0] is positions) == kept


def test_patches_needed_counts_a_blank_between_repeats():
    assert validate.patches_needed(np.array([1, 2, 2, 2, 3, 3])) == 9
    assert validate.patches_of(9, 4) == 3


def test_labels_alone_are_read_and_checked(dataset):
    labels = layout.read_labels(dataset, "train", 6)
    assert len(labels) == 12
    whole = layout.read_split(dataset, "train", validate.Rules(6, 4, 1500))
    for alone, beside in zip(labels, whole.labels, strict=True):
        np.testing.assert_array_equal(alone, beside)
    np.save(dataset / "train" / "labels" / "train_03.npy", np.array([9]))
    with pytest.raises(WSignError, match=r"train_03\.npy: gloss id 9 is not in the vocabulary"):
        layout.read_labels(dataset, "train", 6)
    (dataset / "train" / "labels" / "train_03.npy").write_bytes(b"cut")
    with pytest.raises(WSignError, match=r"train_03\.npy: unreadable"):
        layout.read_labels(dataset, "train", 6)
    with pytest.raises(WSignError, match="name a data set that has other labels"):
        layout.read_labels(dataset, "other", 6)


def test_signers_are_read_as_written(dataset):
    split = layout.read_split(dataset, "val", RULES)
    assert layout.read_groups(split.root, split.name, "signer") == {}
    signers = {"val_00": "Zoë, left-handed", "val_01": 'the "other"', "id": "id"}
    layout.write_groups(dataset, "val", "signer", signers)
    assert (
        (dataset / "val" / "signers.csv").read_text(encoding="utf-8").startswith("id,signer\nid,")
    )
    assert layout.read_groups(split.root, split.name, "signer") == signers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"signers\.csv: empty; its header must have id, signer"),
        ("val_00,Ann\n", r"signers\.csv:1: the header is 'val_00,Ann'; it must have id, signer"),
        ("id,signer\nval_00,Ann\nval_01\n", r"signers\.csv:3: 1 fields, but the header has 2"),
        ("id,signer\nval_00,\n", r"signers\.csv:2: the signer '' is empty"),
        ("id,signer\n,Ann\n", r"signers\.csv:2: the id '' is empty"),
        ("id,signer\n../a,Ann\n", r"signers\.csv:2: the id '../a' would leave its folder"),
        ("id,signer\na,\x1b[31mAnn\n", r"signers\.csv:2: the signer .* has a line break or a con"),
        ("id,signer\na,Ann\na,Bob\n", r"signers\.csv:3: 'a' is in it twice; keep one"),
    ],
)
def test_a_broken_table_of_signers_is_named_with_its_line(dataset, content, message):
    split = layout.read_split(dataset, "val", RULES)
    (dataset / "val" / "signers.csv").write_text(content)
    with pytest.raises(WSignError, match=message) as error:
        layout.read_groups(split.root, split.name, "signer")
    assert "\n" not in str(error.value)


def test_a_new_data_set_is_there_whole_or_not_at_all(tmp_path):
    root = tmp_path / "processed"
    with pytest.raises(ZeroDivisionError), layout.new_dataset(root, "maker") as folder:
        (folder / "begun").touch()
        raise ZeroDivisionError
    assert not root.exists()
    with layout.new_dataset(root, "maker", resume=True) as folder:
        assert (folder / "begun").exists() and not root.exists()
    assert (root / "begun").exists() and [p.name for p in tmp_path.iterdir()] == ["processed"]
    with pytest.raises(WSignError, match="already holds something; remove it, or name a new"):
        layout.new_dataset(root, "maker").__enter__()


@pytest.mark.parametrize("resume", [True, False])
def test_two_commands_do_not_make_one_data_set(tmp_path, resume):
    root = tmp_path / "processed"
    message = "processed: another command is making it; wait for its end, or name another folder"
    with layout.new_dataset(root, "maker") as folder:
        (folder / "begun").touch()
        with pytest.raises(WSignError, match=message):
            layout.new_dataset(root, "maker", resume).__enter__()
    assert [path.name for path in root.iterdir()] == ["begun"]


def test_what_an_earlier_command_left_goes_unless_it_is_gone_on_with(tmp_path):
    left = tmp_path / ".processed.maker-partial" / "train" / "labels"
    left.mkdir(parents=True)
    (left.parents[1] / "dataset.json").touch()
    with layout.new_dataset(tmp_path / "processed", "maker") as folder:
        assert folder == left.parents[1] and not list(folder.iterdir())


def test_headers_are_read_one_at_a_time(dataset, monkeypatch):
    """Python 3.11 fails now and then where two threads evaluate literals at once."""
    busy, most = [], []
    original = np.lib.format.read_array_header_1_0

    def slow(file):
        busy.append(file)
        most.append(len(busy))
        time.sleep(0.002)
        busy.remove(file)
        return original(file)

    validate._read_header.cache_clear()
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", slow)
    assert len(layout.read_split(dataset, "train", RULES)) == 12
    assert len(most) > 1 and max(most) == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, order):
    path = tmp_path / "a.npy"
    for dtype in (np.float32, np.int64):
        array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
        np.save(path, array)
        read = validate.load_npy(path)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, array)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(WSignError, match="holds Python objects"):
        validate.load_npy(path)
    np.save(path, np.arange(9))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WSignError, match="cut off: 8 of 9 numbers"):
        validate.load_npy(path)

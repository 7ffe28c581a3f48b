import json
import shutil

import numpy as np
import pytest

from tests.conftest import random_features
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, pack, pipeline, storage, validate

RULES = validate.Rules(vocab_size=6, patch_size=4, max_seq_length=120)
# Of the twelve training examples, five to a shard.
FIRST, SECOND, THIRD = (
    f"examples-{first:05}-{last:05}-of-00012.array_record"
    for first, last in ((1, 5), (6, 10), (11, 12))
)


@pytest.fixture
def both(dataset, tmp_path):
    """The data set of files, and the same packed."""
    layout.write_groups(dataset, "val", "signer", {"val_00": "Zoë"})
    pack.pack_dataset(
        dataset, tmp_path / "packed", examples_per_shard=5, progress=lambda line: None
    )
    return dataset, tmp_path / "packed"


def damage(shard, near):
    """Changes a byte in the middle of a shard's record that contains something."""
    content = bytearray(shard.read_bytes())
    place = content.index(near)
    content[place + len(near) // 2] ^= 255
    shard.write_bytes(content)


def test_a_packed_split_is_the_split(both):
    for name in layout.SPLITS:
        of_files, of_shards = (layout.read_split(root, name, RULES) for root in both)
        assert of_shards.ids == of_files.ids
        assert of_shards.skipped == 0 and of_shards.max_labels == of_files.max_labels
        np.testing.assert_array_equal(of_shards.frames, of_files.frames)
        for index in range(len(of_files)):
            np.testing.assert_array_equal(of_shards.labels[index], of_files.labels[index])
            features = of_shards.features(index)
            assert features.dtype == np.float32
            np.testing.assert_array_equal(features, of_files.features(index))
        assert layout.read_groups(both[0], name, "signer") == layout.read_groups(
            both[1], name, "signer"
        )
        assert layout.count(both[0], name) == layout.count(both[1], name) == len(of_files)
        for root in both:
            id, features = layout.first_features(root, name)
            assert id == of_files.ids[0]
            np.testing.assert_array_equal(features, of_files.features(0))
        for a, b in zip(*(layout.read_labels(root, name, 6) for root in both), strict=True):
            np.testing.assert_array_equal(a, b)
    shards = {path.name for path in (both[1] / "train").iterdir()}
    assert shards == {FIRST, SECOND, THIRD}


def test_training_batches_are_the_same_to_the_last_bit(both, config):
    config.data.augment.speed = 0.2

    def batches(root):
        split = layout.read_split(root, "train", RULES)
        plan = pipeline.plan_training(split, config.data, 4, 42, epochs=2, max_buckets=2)
        loader = pipeline.BatchLoader(split, config.data, split.max_labels, plan)
        plans = [batch for epoch in range(2) for batch in plan.epoch(epoch, 4)]
        return pipeline.load_ahead(loader, plans, threads=4)

    for of_files, of_shards in zip(*map(batches, both), strict=True):
        for name, a in vars(of_files).items():
            np.testing.assert_array_equal(a, getattr(of_shards, name), strict=True)


def test_everything_else_is_copied_and_what_is_stored_is_not_changed(dataset, tmp_path):
    (dataset / "dataset.json").write_text(json.dumps({"aspect": 2.0}))
    segments = np.array([[0.1, 0.3], [0.4, 0.8]])
    features = random_features(np.random.default_rng(0), 50)
    layout.write_example(dataset, "val", "a b-ü", features, np.array([3, 5]), segments)
    (dataset / ".hidden").touch()
    pack.pack_dataset(dataset, tmp_path / "new" / "packed", 2)
    split = layout.read_split(tmp_path / "new" / "packed", "val", RULES)
    index = split.ids.index("a b-ü")
    np.testing.assert_array_equal(split.stored(index), features)
    assert split.aspect == 2.0 and split.features(index)[0, 0, 1] == features[0, 0, 1] / 2
    np.testing.assert_allclose(layout.read_segments(split, index), segments)
    names = {path.name for path in (tmp_path / "new" / "packed").iterdir()}
    assert names == {"dataset.json", "label_map.json", *layout.SPLITS}
    # From shards to shards of another size.
    pack.pack_dataset(tmp_path / "new" / "packed", tmp_path / "again", 100)
    (shard, _) = sorted((tmp_path / "again" / "val").glob("*"))
    assert shard.name == "examples-00001-00006-of-00006.array_record"
    again = layout.read_split(tmp_path / "again", "val", RULES)
    np.testing.assert_array_equal(again.stored(index), features)


def test_a_damaged_record_is_named_with_its_shard_and_example(both, capsys):
    root = both[1]
    features = layout.read_split(root, "train", RULES).stored(6)
    damage(root / "train" / SECOND, features[9].tobytes())
    with pytest.raises(WSignError, match="1 bad of 12 examples") as error:
        layout.read_split(root, "train", RULES)
    assert f"train/{SECOND}: train_06: features: unreadable (Corrupted" in str(error.value)
    split = layout.read_split(root, "train", RULES, on_bad="skip")
    assert len(split) == 11 and split.skipped == 1 and "train_06" not in split.ids
    assert f"warning: left out {root}/train/{SECOND}: train_06" in capsys.readouterr().out
    assert len(layout.read_labels(root, "train", 6)) == 12


def test_a_damaged_id_is_named_by_its_number(both):
    damage(both[1] / "train" / THIRD, b"train_11")
    with pytest.raises(WSignError, match=rf"{THIRD}: example 2 of it: unreadable \(Corrupted"):
        layout.read_split(both[1], "train", RULES)
    with pytest.raises(WSignError, match=rf"{THIRD}: example 2 of it: unreadable"):
        layout.read_labels(both[1], "train", 6)


@pytest.mark.parametrize("content", ["half", "nothing", "text"])
def test_a_damaged_shard_is_one_problem_of_all_its_examples(both, content, capsys):
    path = both[1] / "train" / SECOND
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "nothing": b""}.get(content, b"text"))
    with pytest.raises(WSignError, match="5 bad of 12 examples") as error:
        layout.read_split(both[1], "train", RULES)
    assert str(error.value).count(SECOND) == 1
    assert f"{SECOND}: unreadable (" in str(error.value)
    assert "restore it, or pack the data set again" in str(error.value)
    split = layout.read_split(both[1], "train", RULES, on_bad="skip")
    assert split.skipped == 5 and split.ids == tuple(
        f"train_{number:02}" for number in (*range(5), 10, 11)
    )
    assert capsys.readouterr().out.count("left out") == 1


@pytest.mark.parametrize(
    ("name", "which", "count"),
    [(FIRST, "1 to 5", 5), (SECOND, "6 to 10", 5), (THIRD, "11 to 12", 2)],
)
def test_a_missing_shard_is_named(both, name, which, count):
    (both[1] / "train" / name).unlink()
    with pytest.raises(WSignError, match=f"the shard of examples {which} is missing; restore it"):
        layout.read_split(both[1], "train", RULES)
    split = layout.read_split(both[1], "train", RULES, on_bad="skip")
    assert split.skipped == count and len(split) == 12 - count
    with pytest.raises(WSignError, match=f"examples {which} is missing"):
        layout.read_labels(both[1], "train", 6)


@pytest.mark.parametrize("kind", ["features", "labels"])
def test_files_beside_shards_are_refused(both, kind):
    dataset, root = both
    shutil.copytree(dataset / "val" / kind, root / "val" / kind)
    message = "val: has both .*; remove the folders features and labels, or the .*array_record"
    for read in (
        lambda: layout.read_split(root, "val", RULES),
        lambda: layout.read_labels(root, "val", 6),
        lambda: layout.count(root, "val"),
    ):
        with pytest.raises(WSignError, match=message) as error:
            read()
        assert "\n" not in str(error.value)


def test_shards_of_two_packings_are_refused(both, tmp_path):
    pack.pack_dataset(both[0], tmp_path / "other", 4)
    for path in (tmp_path / "other" / "train").iterdir():
        shutil.copy(path, both[1] / "train")
    with pytest.raises(WSignError, match="are of two packings; remove the shards of one of them"):
        layout.read_split(both[1], "train", RULES)


def test_an_id_that_is_there_twice_is_refused(both):
    train = both[1] / "train"
    shutil.copy(train / FIRST, train / SECOND)
    with pytest.raises(WSignError, match=f"{SECOND}: 'train_00' is in {FIRST} too"):
        layout.read_split(both[1], "train", RULES)


@pytest.mark.parametrize("id", ["../../secret", ".hidden", "a\nb", "\x1b[31m", ""])
def test_an_id_stays_in_its_data_set(tmp_path, id, capsys):
    features = random_features(np.random.default_rng(0), 40)
    (tmp_path / "train").mkdir()
    rows = [(id, np.array([1]), features), ("good", np.array([1]), features)]
    storage.write_shards(tmp_path / "train", rows, 2, 2)
    with pytest.raises(WSignError, match=r"array_record: example 1 of it: the id .* it"):
        layout.read_split(tmp_path, "train", RULES)
    assert layout.read_split(tmp_path, "train", RULES, on_bad="skip").ids == ("good",)


@pytest.mark.parametrize(
    "name",
    [
        "examples-00001-99999999999999999999-of-99999999999999999999",
        "examples-00001-00012-of-99999999999",
        "examples-00012-00001-of-00012",
        "examples-00000-00011-of-00012",
        "examples-00001-00013-of-00012",
    ],
)
def test_a_shard_whose_name_is_none_is_named(both, name):
    (both[1] / "val" / "examples-00001-00005-of-00005.array_record").rename(
        both[1] / "val" / f"{name}.array_record"
    )
    with pytest.raises(
        WSignError, match=rf"{name}\.array_record: not examples FIRST to LAST of up"
    ):
        layout.read_split(both[1], "val", RULES)


def test_packed_examples_are_held_to_the_same_rules(tmp_path):
    features = random_features(np.random.default_rng(0), 40)
    holed = features.copy()
    holed[7, 3, 2] = np.nan
    (tmp_path / "train").mkdir()
    bad = [
        ("a", np.array([6]), features, r"a: labels: gloss id 6 is not in the vocabulary \(1 to 5"),
        ("b", np.array([1]), holed, "b: features: has NaN or infinity, first in frame 7"),
        ("c", np.array([1] * 13), features, r"c: labels: CTC cannot emit 13 glosses"),
        ("d", np.array([1]), np.tile(features, (4, 1, 1)), "d: features: 160 frames are over"),
        ("e", np.array([1]), features[:, :6], r"e: features: shape \(40, 6, 7\) is not"),
    ]
    storage.write_shards(tmp_path / "train", [row[:3] for row in bad], len(bad), 2)
    with pytest.raises(WSignError, match="5 bad of 5 examples") as error:
        layout.read_split(tmp_path, "train", RULES)
    for *_, message in bad:
        assert error.match(rf"array_record: {message}")
    with pytest.raises(WSignError, match="array_record: a: labels: gloss id 6 is not"):
        layout.read_labels(tmp_path, "train", 6)


def test_a_bad_data_set_is_not_packed(dataset, tmp_path, capsys):
    (dataset / "train" / "labels" / "train_04.npy").unlink()
    (dataset / "train" / "features" / "train_05.npy").write_bytes(b"cut")
    with pytest.raises(WSignError, match="2 bad of 12 examples") as error:
        pack.pack_dataset(dataset, tmp_path / "packed", 5)
    assert "labels/train_04.npy: missing" in str(error.value)
    assert "features/train_05.npy: unreadable" in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"processed"}
    pack.pack_dataset(dataset, tmp_path / "packed", 5, on_bad="skip")
    assert len(layout.read_split(tmp_path / "packed", "train", RULES)) == 10
    assert "train: 10 examples in 2 shards" in capsys.readouterr().out


def test_what_only_some_models_refuse_is_packed(dataset, tmp_path):
    features = random_features(np.random.default_rng(0), 2000)
    layout.write_example(dataset, "val", "long", features, np.array([1]))
    layout.write_example(dataset, "val", "short", features[:3], np.array([1, 2]))
    (dataset / "label_map.json").unlink()  # config.model.vocab_size stands in for it
    pack.pack_dataset(dataset, tmp_path / "packed", 5)
    with pytest.raises(WSignError, match="2 bad of 7 examples") as error:
        layout.read_split(tmp_path / "packed", "val", RULES)
    assert error.match("long: features: 2000 frames are over data.max_seq_length=120")
    assert error.match("short: labels: CTC cannot emit 2 glosses")


def test_there_must_be_something_to_pack_and_to_pack_it_in(tmp_path):
    with pytest.raises(WSignError, match="no train, val or test in it; name a data set"):
        pack.pack_dataset(tmp_path, tmp_path / "packed", 5)
    with pytest.raises(WSignError, match="--examples_per_shard=0: give 1 or more"):
        pack.pack_dataset(tmp_path, tmp_path / "packed", 0)
    example = ("a", np.array([1]), np.zeros((4, 42, 7), np.float32))
    with pytest.raises(WSignError, match=r"gone/examples-00001-.* cannot be written"):
        storage.write_shards(tmp_path / "gone", [example], 1, 1)


def test_a_shard_that_changes_during_the_run_is_noticed(both):
    split = layout.read_split(both[1], "val", RULES)
    path = both[1] / "val" / "examples-00001-00005-of-00005.array_record"
    damage(path, split.stored(0)[9].tobytes())
    with pytest.raises(WSignError, match="val_00: features: changed or became unreadable"):
        split.features(0)

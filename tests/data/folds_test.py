import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data import folds, layout, validate

POOLED = ("train", "val")


def grouped(dataset, unit, names):
    """Gives the pooled examples of a data set groups in turn."""
    numbers = {}
    for split in POOLED:
        ids = sorted(path.stem for path in (dataset / split / "features").iterdir())
        numbers = {id: names[place % len(names)] for place, id in enumerate(ids)}
        layout.write_groups(dataset, split, unit, numbers)


def test_every_example_is_tested_once_and_never_by_its_own_group(dataset):
    grouped(dataset, "signer", ["ann", "ben", "cleo"])
    parts = folds.make_folds(folds.read_examples(dataset, POOLED, "signer", 0))
    assert [(p.name, {e.group for e in p.val}, {e.group for e in p.train}) for p in parts] == [
        ("ann", {"ben"}, {"cleo"}),
        ("ben", {"cleo"}, {"ann"}),
        ("cleo", {"ann"}, {"ben"}),
    ]
    assert sorted(e.id for p in parts for e in p.test) == sorted(
        [f"train_{n:02}" for n in range(12)] + [f"val_{n:02}" for n in range(5)]
    )


def test_of_two_groups_a_fifth_of_the_other_validates(dataset):
    grouped(dataset, "session", ["1", "2"])
    first, second = folds.make_folds(folds.read_examples(dataset, POOLED, "session", 0))
    assert [len(first.train), len(first.val), len(first.test)] == [7, 1, 9]
    assert {e.group for e in (*second.train, *second.val)} == {"1"}


def test_random_parts_are_equal_and_the_seeds_alone(dataset):
    once, again, other = (folds.read_examples(dataset, POOLED, "4", seed) for seed in (0, 0, 1))
    assert once == again != other
    assert sorted([e.group for e in once].count(name) for name in "1234") == [4, 4, 4, 5]


def test_a_fold_is_a_data_set_of_links(dataset, tmp_path):
    grouped(dataset, "signer", ["ann", "ben", "cleo"])
    fold = folds.make_folds(folds.read_examples(dataset, POOLED, "signer", 0))[0]
    out = tmp_path / "fold"
    folds.write_fold(dataset, fold, out)
    split = layout.read_split(out, "test", validate.Rules(6, 4, 1500))
    assert list(split.ids) == [e.id for e in fold.test]
    whole = layout.read_split(dataset, "val", validate.Rules(6, 4, 1500))
    np.testing.assert_array_equal(split.features(split.ids.index("val_00")), whole.features(0))
    assert set(layout.read_groups(out, "test", "signer").values()) == {"ann"}
    folds.write_fold(dataset, fold, out)  # again: nothing to do
    with pytest.raises(WSignError, match="holds other examples; name another --out"):
        folds.write_fold(dataset, fold.__class__("ann", fold.val, fold.train, fold.test), out)


def test_glosses_that_training_lacks(dataset):
    layout.write_labels(dataset, "val", "val_00", np.array([5]))
    for n in range(12):
        layout.write_labels(dataset, "train", f"train_{n:02}", np.array([1, 2]))
    examples = {e.id: e for e in folds.read_examples(dataset, POOLED, "2", 0)}
    train = tuple(e for id, e in examples.items() if id.startswith("train"))
    fold = folds.Fold("1", train, (), (examples["val_00"], train[0]))
    assert folds.unseen_glosses(dataset, fold) == {5}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("signer", "the signer of 17 of 17 examples is not known, for example of 'train_00'"),
        ("session", "all 17 examples are of one session \\(1\\); folds need two"),
        ("1", "--folds=1: must be 2 to 17"),
        ("18", "--folds=18: must be 2 to 17"),
        ("people", "--folds=people: write signer, session or a number"),
    ],
)
def test_what_cannot_be_folded_is_named(dataset, kind, message):
    grouped(dataset, "session", ["1"])
    with pytest.raises(WSignError, match=message):
        folds.read_examples(dataset, POOLED, kind, 0)


def test_an_id_in_two_splits_is_named(dataset):
    for kind in ("features", "labels"):
        (dataset / "val" / kind / "train_03.npy").symlink_to(
            dataset / "train" / kind / "train_03.npy"
        )
    with pytest.raises(WSignError, match="'train_03' is in two splits"):
        folds.read_examples(dataset, POOLED, "2", 0)

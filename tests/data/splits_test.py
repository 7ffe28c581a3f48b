from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsign_jax.data import splits
from wsign_jax.data.layout import SPLITS


def clips(glosses: int, groups: int, each: int) -> tuple[list[str], list[str]]:
    """Every gloss `each` times in every group."""
    pairs = [(f"g{g}", f"s{s}") for g in range(glosses) for s in range(groups) for _ in range(each)]
    return [gloss for gloss, _ in pairs], [group for _, group in pairs]


def test_whole_groups_go_to_one_split_and_every_gloss_to_all_three():
    glosses, groups = clips(glosses=6, groups=10, each=5)
    found, shared = splits.split_signs(glosses, groups, seed=0)
    assert shared == {"val and test": [], "all": []}
    by_group = defaultdict(set)
    by_gloss = defaultdict(set)
    for gloss, group, split in zip(glosses, groups, found, strict=True):
        by_group[group].add(split)
        by_gloss[gloss].add(split)
    assert all(len(where) == 1 for where in by_group.values())
    assert all(where == set(SPLITS) for where in by_gloss.values())
    counts = Counter(found)
    assert counts["train"] == 210 and {counts["val"], counts["test"]} == {30, 60}


def test_the_seed_decides():
    glosses, groups = clips(glosses=3, groups=9, each=2)
    drawn = [splits.split_signs(glosses, groups, seed)[0] for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and drawn[0] not in drawn[2:]


def test_two_groups_keep_training_apart_from_what_val_and_test_share():
    glosses, groups = clips(glosses=2, groups=2, each=10)
    found, shared = splits.split_signs(glosses, groups, seed=0)
    assert shared == {"val and test": ["g0", "g1"], "all": []}
    where = defaultdict(Counter)
    for group, split in zip(groups, found, strict=True):
        where[group][split] += 1
    assert sorted(map(dict, where.values()), key=len) == [{"train": 20}, {"val": 8, "test": 12}]


def test_a_single_group_is_cut_in_the_order_of_recording():
    found, shared = splits.split_signs(["a"] * 20, ["s"] * 20, seed=0)
    assert shared["all"] == ["a"]
    assert found == ["train"] * 13 + ["val"] * 3 + ["test"] * 4
    assert splits.split_signs(["a"], ["s"], seed=0)[0] == ["train"]


def test_sentences_are_split_by_group():
    rng = np.random.default_rng(0)
    glosses = [[f"g{n}" for n in rng.integers(8, size=5)] for _ in range(60)]
    groups = [f"signer {n % 12}" for n in range(60)]
    of_group = splits.split_groups(glosses, groups, seed=0)
    assert set(of_group) == set(groups) and set(of_group.values()) == set(SPLITS)


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_clips(count):
    assert splits.split_signs(["a"] * count, ["s"] * count, seed=0)[0] == ["train"] * count


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=60))
def test_no_group_serves_train_and_another_but_for_glosses_that_are_named(pairs):
    glosses = [f"g{gloss}" for gloss, _ in pairs]
    groups = [f"s{group}" for _, group in pairs]
    found, shared = splits.split_signs(glosses, groups, seed=0)
    where = defaultdict(set)
    for gloss, group, split in zip(glosses, groups, found, strict=True):
        held = "held out" if gloss in shared["val and test"] and split != "train" else split
        if gloss not in shared["all"]:
            where[group].add(held)
        assert split in SPLITS
    for kinds in where.values():
        assert not ("train" in kinds and len(kinds) > 1)
    for gloss in set(glosses) - set(shared["all"]) - set(shared["val and test"]):
        assert {s for g, s in zip(glosses, found, strict=True) if g == gloss} == set(SPLITS)

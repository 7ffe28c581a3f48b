from collections import defaultdict

import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora.assign_splits import SplitSettings, assign_splits
from wsign_jax.data.corpora.records import Record
from wsign_jax.data.layout import SPLITS


def clips(signers=("",), sessions=("",), each=10, split=""):
    """Every signer makes each of two signs `each` times in every session."""
    return [
        Record(split, f"{signer}{session}{sign}{n}", (sign,), "x", signer, session)
        for signer in signers
        for session in sessions
        for sign in ("A", "B")
        for n in range(each)
    ]


def served(assigned, field):
    splits = defaultdict(set)
    for clip in assigned.records:
        splits[getattr(clip, field)].add(clip.split)
    return splits


@pytest.mark.parametrize(
    ("signers", "sessions", "unit"),
    [
        ("abcdefg", "123", "signer"),
        ("ab", "123", "session"),
        ("ab", ("",), "signer"),
        (("", "a", "b"), ("",), "signer"),
        (("",), "12", "session"),
        (("",), ("",), "clip"),
    ],
)
def test_signers_go_before_sessions_and_these_before_clips(signers, sessions, unit):
    assigned = assign_splits(clips(signers, sessions), SplitSettings())
    assert assigned.unit == unit and {r.split for r in assigned.records} == set(SPLITS)
    if len({*signers}) > 2 and unit == "signer":
        assert all(len(splits) == 1 for splits in served(assigned, "signer").values())
        assert not any("more than one split" in line for line in assigned.lines)
    warned = "\n".join(assigned.lines)
    assert ("the signers are not known" in warned) == (signers == ("",))


def test_without_people_and_sessions_the_last_clips_of_each_sign_are_held_out():
    assigned = assign_splits(clips(each=80), SplitSettings())
    of_a = [clip.split for clip in assigned.records if clip.glosses == ("A",)]
    assert of_a == ["train"] * 52 + ["val"] * 12 + ["test"] * 16
    (line, *_) = assigned.lines
    assert line == "splits by clip: the last third of each sign's clips goes to val and test"
    few = [clip.split for clip in assign_splits(clips(each=3), SplitSettings()).records]
    assert few == ["train", "val", "test"] * 2


def test_people_can_be_held_out():
    found = clips(["001", "002", "anna", "ben"])
    assigned = assign_splits(found, SplitSettings(test_signers=("1", "anna"), val_signers=("ben",)))
    expected = {"001": {"test"}, "anna": {"test"}, "ben": {"val"}, "002": {"train"}}
    assert served(assigned, "signer") == expected
    assigned = assign_splits(found, SplitSettings(test_signers=("anna",)))
    splits = served(assigned, "signer")
    assert splits.pop("anna") == {"test"} and set.union(*splits.values()) == {"train", "val"}
    assert all(len(some) == 1 for some in splits.values())
    published = clips("a", split="train") + clips("b", split="val") + clips("c", split="test")
    assigned = assign_splits(published, SplitSettings(test_signers=("a",)))
    assert served(assigned, "signer") == {"a": {"test"}, "b": {"val"}, "c": {"train"}}
    with pytest.raises(
        WSignError, match="--test_signers=eve: signs no clip; the signers are: 001, 002"
    ):
        assign_splits(found, SplitSettings(test_signers=("eve",)))


def test_given_splits_stay_and_a_missing_one_is_taken_from_train():
    found = clips("abcd", split="train") + clips("e", split="test")
    assigned = assign_splits(found, SplitSettings())
    assert assigned.lines[0] == "no clips for val: they are taken from those of train"
    splits = served(assigned, "signer")
    assert splits.pop("e") == {"test"} and sorted(map(sorted, splits.values()))[0] == ["train"]
    assert all(len(some) == 1 for some in splits.values())
    given = clips("a", split="train") + clips("a", split="val") + clips("a", split="test")
    assigned = assign_splits(given, SplitSettings())
    assert assigned.records == given and assigned.unit == "given"
    (line,) = assigned.lines
    assert line.startswith(
        "warning: the same people are in several splits (a): results say little of new people"
    )
    assert assign_splits(given, SplitSettings(split_by="clip")).unit == "clip"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split_by": "day"}, "--split_by=day: write signer, session or clip"),
        ({"seed": -1}, "--seed=-1: give 0 or more"),
        ({"val_signers": ("a",), "test_signers": ("a",)}, r"share \['a'\]; give each its own"),
        ({"split_by": "session"}, "--split_by=session: no clip names its session"),
    ],
)
def test_settings_that_make_no_sense_are_named(change, message):
    with pytest.raises(WSignError, match=message):
        assign_splits(clips("abc"), SplitSettings(**change))

import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import people

TREES = {
    "one": (["MP_Data"], [("", "", "")], []),
    "people": (["anna", "ben"], [("anna", "", ""), ("ben", "", "")], ["anna, ben as people"]),
    "sessions": (
        ["MP_Data", "MP_Data2", "MP_Data10"],
        [("", "MP_Data", ""), ("", "MP_Data2", ""), ("", "MP_Data10", "")],
        ["MP_Data, MP_Data2, MP_Data10 as sessions"],
    ),
    "newcomers": (
        ["MP_Data", "MP_Data_Novos/anna", "MP_Data_Novos/ben"],
        [("", "MP_Data", ""), ("anna", "MP_Data_Novos", ""), ("ben", "MP_Data_Novos", "")],
        ["anna, ben as people; MP_Data, MP_Data_Novos as sessions"],
    ),
    "splits": (
        ["Test", "Train/anna/day 1", "Train/anna/day 2"],
        [("", "", "test"), ("anna", "day 1", "train"), ("anna", "day 2", "train")],
        ["anna as people; day 1, day 2 as sessions; Test, Train as splits"],
    ),
}


def is_clip(path):
    return path.suffix == ".npy"


def tree(root, *folders):
    for folder in folders:
        corpora.touch(root / folder / "hello" / "1.npy")
    return root


@pytest.mark.parametrize("name", TREES)
def test_folders_are_people_sessions_or_splits(tmp_path, name):
    folders, expected, said = TREES[name]
    found = people.find_sign_folders(tree(tmp_path / "x", *folders), is_clip)
    assert [(signs.signer, signs.session, signs.split) for signs in found] == expected
    assert [signs.folder for signs in found] == [tmp_path / "x" / folder for folder in folders]
    assert len({signs.prefix for signs in found}) == len(found)
    assert people.describe_folders(found) == [f"took the folders {line}" for line in said]


def test_siblings_are_mentioned(tmp_path):
    tree(tmp_path, "MP_Data", "MP_Data1", "photos")
    (tmp_path / "MP_Data2").mkdir()
    (line,) = people.describe_siblings(tmp_path / "MP_Data", is_clip)
    assert line == f"not read: MP_Data1, beside it; --root={tmp_path} reads all"
    assert people.describe_siblings(tmp_path / "MP_Data" / "hello", is_clip) == []


def test_a_folder_that_is_two_things_at_once_is_named(tmp_path):
    tree(tmp_path, ".", "old")
    with pytest.raises(
        WSignError, match=r"holds signs \(hello\) and folders of signs \(old\); .*/old"
    ):
        people.find_sign_folders(tmp_path, is_clip)
    with pytest.raises(WSignError, match="gone: no such folder"):
        people.find_sign_folders(tmp_path / "gone", is_clip)

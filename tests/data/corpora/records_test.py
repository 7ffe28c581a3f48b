import pytest

from tests.helpers import corpora
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import ASSUMED, GIVEN, KnownValue, Record


@pytest.mark.parametrize(
    ("name", "glosses"),
    [
        ("hello", ("hello",)),
        ("two  words", ("two-words",)),
        ("_", ()),
        ("None", ()),
        (" IDLE ", ()),
    ],
)
def test_a_folders_name_is_a_gloss_or_background(name, glosses):
    assert records.glosses_of(name) == glosses


def test_names_of_splits_and_the_order_of_names():
    names = ("Train", "dev", "Testing", "", "hello")
    assert [records.split_of(name) for name in names] == ["train", "val", "test", "", None]
    assert sorted([long := "9" * 5000, "a10", "a2", "10", "9", "a"], key=records.natural_order) == [
        "9",
        "10",
        long,
        "a",
        "a2",
        "a10",
    ]


def test_links_are_followed_once_and_what_is_no_recording_is_passed_over(tmp_path):
    root = tmp_path / "in"
    for name in ("a2/x", "a10/x", "__MACOSX/x", ".git/x", "made/label_map.json", "a2/.x"):
        corpora.touch(root / name)
    corpora.touch(tmp_path / "elsewhere" / "y")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a2" / "up").symlink_to(root)
    found = [(str(folder.relative_to(root)), files) for folder, files in records.walk_folders(root)]
    assert found == [(".", []), ("a2", ["x"]), ("a10", ["x"]), ("b", ["y"])]


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    pointer = corpora.write(
        tmp_path / "a.mp4", "version https://git-lfs.github.com/spec/v1\noid x\n"
    )
    good = corpora.touch(tmp_path / "b.mp4")
    found = [Record("", "x", ("A",), "t.csv:2", source=path) for path in (pointer, good)]
    present, (problem,) = records.check_sources(found)
    assert [record.source for record in present] == [good]
    assert problem.startswith(
        f"t.csv:2: {pointer}: a Git LFS pointer, not the file; run git lfs pull"
    )


def test_what_was_assumed_is_said_by_folder():
    shapes = {
        "a": KnownValue(4 / 3, ASSUMED),
        "b": KnownValue(16 / 9, "by faces"),
        "c": KnownValue(4 / 3, ASSUMED),
    }
    recorded, lines = records.recorded_as(KnownValue(25.0, GIVEN), shapes)
    assert lines == [
        "width / height of the pictures of a, c: 4/3, assumed; --aspect=W/H says otherwise",
        "width / height of the pictures of b: 16/9, by faces; --aspect=W/H says otherwise",
    ]
    assert (
        recorded["fps"] == {"value": 25.0, "why": "given"}
        and recorded["aspect"]["b"]["value"] > 1.7
    )

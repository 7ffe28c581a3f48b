"""A file is there whole or not at all, and nothing else is."""

import pathlib

import pytest

from wsign_jax import disk


def test_a_file_is_written_with_its_folders_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    disk.write(path, b"first")
    disk.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        disk.write(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_is_there_while_it_grows_and_not_at_all_if_it_stays_empty(tmp_path):
    path = tmp_path / "new" / "text"
    with disk.text(path, replace=False):
        pass
    assert list(path.parent.iterdir()) == []
    with disk.text(path, replace=True) as file:
        print("grün", file=file, flush=True)
        assert path.read_text(encoding="utf-8") == "grün\n"
    with pytest.raises(FileExistsError), disk.text(path, replace=False):
        pass
    assert path.read_text(encoding="utf-8") == "grün\n"


def test_a_text_is_replaced_once_the_new_one_is_whole(tmp_path, capsys):
    path, link = tmp_path / "text", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with disk.text(link, replace=True) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" and link.is_symlink()
    with pytest.raises(KeyboardInterrupt), disk.text(path, replace=True) as file:
        file.write("half")
        raise KeyboardInterrupt
    partial = tmp_path / "text.partial"
    assert path.read_text() == "new" and partial.read_text() == "half"
    assert capsys.readouterr().err == f"{path} is left as it was; what is new is in {partial}\n"
    with disk.text(path, replace=True):
        pass
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [link, path]


def test_what_is_no_file_is_written_to():
    with disk.text(pathlib.Path("/dev/null"), replace=True) as file:
        file.write("gone")

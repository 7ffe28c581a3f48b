"""A file is there whole or not at all, and nothing else is."""

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

"""A file is there whole or not at all, and nothing else is."""

import os
import stat
import threading

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
    with disk.text(path, replace=True):
        pass
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [link, path]
    assert not capsys.readouterr().err


def test_a_text_keeps_its_mode(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    path.chmod(0o600)
    with disk.text(path, replace=True) as file:
        file.write("new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("written", ["half", ""])
def test_what_interrupts_leaves_the_old_text_and_what_is_new(tmp_path, capsys, written):
    path, mine = tmp_path / "text", tmp_path / "text.partial"
    path.write_text("old")
    mine.write_text("mine")
    with pytest.raises(KeyboardInterrupt), disk.text(path, replace=True) as file:
        file.write(written)
        raise KeyboardInterrupt
    assert path.read_text() == "old" and mine.read_text() == "mine"
    left = [each for each in tmp_path.iterdir() if each not in (path, mine)]
    said = capsys.readouterr().err
    if written:
        assert said == f"{path} is left as it was; what is new is in {left[0]}\n"
        assert [each.read_text() for each in left] == ["half"]
    else:
        assert left == [] and not said
    with pytest.raises(KeyboardInterrupt), disk.text(tmp_path / "other", replace=False) as file:
        file.write(written)
        raise KeyboardInterrupt
    assert (tmp_path / "other").exists() == bool(written)


def test_a_link_to_itself_is_an_error(tmp_path):
    path = tmp_path / "text"
    path.symlink_to(path)
    with pytest.raises(OSError, match="text"), disk.text(path, replace=True):
        pass


def test_what_is_no_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with disk.text(pipe, replace=True) as file:
        file.write("gone through")
    reader.join()
    assert read == ["gone through"] and pipe.is_fifo()

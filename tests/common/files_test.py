"""A file is there whole or not at all, and nothing else is; JSON and names are what they say."""

import os
import pathlib
import re
import secrets
import stat
import subprocess
import sys
import threading

import pytest

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError


def test_a_file_is_written_with_its_folders_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    files.write(path, b"first")
    files.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        files.write(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_is_there_while_it_grows_and_not_at_all_if_it_stays_empty(tmp_path):
    path = tmp_path / "new" / "text"
    with files.open_text(path, replace=False):
        pass
    assert list(path.parent.iterdir()) == []
    with files.open_text(path, replace=True) as file:
        print("grün", file=file, flush=True)
        assert path.read_text(encoding="utf-8") == "grün\n"
    with pytest.raises(FileExistsError), files.open_text(path, replace=False):
        pass
    assert path.read_text(encoding="utf-8") == "grün\n"


def test_a_text_is_replaced_once_the_new_one_is_whole(tmp_path, capsys):
    path, link = tmp_path / "text", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with files.open_text(link, replace=True) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" and link.is_symlink()
    with files.open_text(path, replace=True):
        pass
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [link, path]
    assert not capsys.readouterr().err


def test_a_text_keeps_its_mode(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    path.chmod(0o600)
    with files.open_text(path, replace=True) as file:
        file.write("new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("written", ["half", ""])
def test_what_interrupts_leaves_the_old_text_and_what_is_new(tmp_path, capsys, written):
    path, mine = tmp_path / "text", tmp_path / "text.partial"
    path.write_text("old")
    mine.write_text("mine")
    with pytest.raises(KeyboardInterrupt), files.open_text(path, replace=True) as file:
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
    with (
        pytest.raises(KeyboardInterrupt),
        files.open_text(tmp_path / "other", replace=False) as file,
    ):
        file.write(written)
        raise KeyboardInterrupt
    assert (tmp_path / "other").exists() == bool(written)


def test_a_link_to_itself_is_an_error(tmp_path):
    path = tmp_path / "text"
    path.symlink_to(path)
    with pytest.raises(OSError, match="text"), files.open_text(path, replace=True):
        pass


def test_what_is_no_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with files.open_text(pipe, replace=True) as file:
        file.write("gone through")
    reader.join()
    assert read == ["gone through"] and pipe.is_fifo()


def test_a_link_is_written_through_and_a_file_keeps_its_mode(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    files.write(link, b"new")
    assert path.read_bytes() == b"new" and link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WSignError, match="pipe: is a device or a pipe"):
        files.write(tmp_path / "pipe", b"content")
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_nothing_is_written_through_a_link_at_the_temporary_name(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".file.guessed.partial").symlink_to(secret)
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "file", b"content")
    assert secret.read_bytes() == b"key" and not (tmp_path / "file").exists()


def test_a_full_disk_is_named():
    with pytest.raises(OSError) as caught, files.name_in_errors("out.wsign"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == "out.wsign"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": ' + b"[" * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"[1]", "must be an object"),
        (b'{"a": 1, "a": 2}', "'a' is in it twice"),
    ],
)
def test_json_that_is_none_is_one_line(tmp_path, content, message):
    path = tmp_path / "about.json"
    path.write_bytes(content)
    with pytest.raises(WSignError, match=f"^{re.escape(str(path))}: {message}.*$"):
        files.read_json(path)


def test_a_list_is_read_and_a_mark_at_the_start_is_none_of_it(tmp_path):
    path = tmp_path / "items.json"
    path.write_bytes(b"\xef\xbb\xbf[1, 2]")
    assert files.read_json_list(path) == [1, 2]
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert files.read_json(path) == {}
    with pytest.raises(WSignError, match=r"items\.json: must be a list"):
        files.read_json_list(path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_process_holds_a_lock_until_its_end(tmp_path, kind):
    path = tmp_path / "lock"
    if kind == "folder":
        path.mkdir()
    with files.hold_lock(path, "taken"):
        with pytest.raises(WSignError, match=r"^taken$"), files.hold_lock(path, "taken"):
            raise AssertionError("held twice")
        holder = f"import os, fcntl; fcntl.flock(os.open({str(path)!r}, 0), 6)"
        done = subprocess.run([sys.executable, "-c", holder], capture_output=True, check=False)
        assert b"BlockingIOError" in done.stderr
    with files.hold_lock(path, "taken"):
        pass


def test_json_beyond_its_bound_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_JSON_BYTES", 1 << 20)
    path = tmp_path / "about.json"
    path.write_bytes(b'{"a": "' + b"x" * (1 << 20) + b'"}')
    with pytest.raises(WSignError, match=r"about.json: larger than 1 MiB"):
        files.read_json(path)


def test_a_name_that_is_not_utf8_comes_back_from_json(tmp_path):
    files.write_json(tmp_path / "about.json", {"data": "caf\udce9", "gloss": "grün"})
    assert files.read_json(tmp_path / "about.json") == {"data": "caf\udce9", "gloss": "grün"}
    assert "grün".encode() in (tmp_path / "about.json").read_bytes()


@pytest.mark.parametrize(
    ("value", "kind", "must"),
    [
        (True, int, "it must be from 1 up"),
        ("4", int, "it must be from 1 up"),
        (0, int, "it must be from 1 up"),
        (float("nan"), (int, float), "it must be from 1 up"),
        ([], int, "it must be from 1 up"),
    ],
)
def test_a_field_is_checked_in_one_line(value, kind, must):
    with pytest.raises(WSignError, match=f"^FILE: 'patch_size' is .*; {must}$"):
        files.field(
            {"patch_size": value}, "patch_size", "FILE", kind, lambda n: n >= 1, "from 1 up"
        )


def test_a_field_that_is_missing_or_good():
    with pytest.raises(WSignError, match="FILE: 'name' is missing; it must be text"):
        files.field({}, "name", "FILE", str)
    assert files.field({"name": "x"}, "name", "FILE", str) == "x"


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "\x1b[31mred", "a\u2028b", "\x9b31m", "\ud83d", "caf\udce9"]
)
def test_a_gloss_stays_within_its_line(name):
    with pytest.raises(WSignError, match=r"label_map.json: gloss .* rename it|give it a name"):
        files.check_line(name, "label_map.json: gloss")


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".hidden", "x" * 300, "a\0b"])
def test_an_id_stays_in_its_folder(name):
    with pytest.raises(WSignError, match=r"signs.csv:3: id"):
        files.check_id(name, "signs.csv:3: id")


def test_names_that_people_give_are_good():
    for name in ("vielglück", "I-LOVE-YOU", "10:30 clip", "你好", "a.b"):
        assert files.check_line(name, "gloss") == files.check_id(name, "id") == name


def test_a_folder_is_made_or_what_is_in_its_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert files.make_folder(tmp_path / "a" / "b") and not files.make_folder(tmp_path / "a" / "b")
    for name in ("file", "dangling", "dangling/inside"):
        with pytest.raises(WSignError, match=r"(file|dangling): is a file or a link to nothing"):
            files.make_folder(tmp_path / name)


def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "new" / "folder" / "file"):
        files.check_writable(path)
    assert not (tmp_path / "new").exists()
    for path, message in (
        (tmp_path, "is a folder; name a file"),
        (pathlib.Path("/"), "is a folder; name a file"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (tmp_path / "file" / "inside", "file cannot; name another place"),
    ):
        with pytest.raises((OSError, WSignError), match=message):
            files.check_writable(path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(WSignError, match=r"new: cannot be written, because .* cannot"):
        files.check_writable(tmp_path / "new")


def test_what_is_read_is_not_replaced_under_any_name(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "same")
    for name in ("a", "link", "same"):
        with pytest.raises(WSignError, match=f"{name}: is read here, so it cannot be replaced"):
            files.check_apart(
                [tmp_path / "new", tmp_path / name], [tmp_path / "gone", tmp_path / "a"]
            )
    files.check_apart([tmp_path / "new", tmp_path / "b"], [tmp_path / "a", tmp_path / "new"])

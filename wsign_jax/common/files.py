"""Writes files whole or not at all, reads JSON within bounds, and checks names and ids."""

import contextlib
import fcntl
import json
import os
import pathlib
import reprlib
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO, TypeVar

from wsign_jax.common.errors import WSignError

# Far above any file of this project; a larger one is a mistake or an attack.
MOST_JSON_BYTES = 256 * 2**20

T = TypeVar("T")

# ------------------------------------------------------------------------------------------- writing


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, and makes the folders to it.

    It is written under a temporary name, so that a reader never sees half of it, even if others write
    the same file. A link is followed: the file that it names is replaced. Nobody can foresee the
    temporary name and put a link there.

    Raises:
        OSError: it cannot be written, which leaves nothing behind; its `filename` is the path.
        WSignError: the path is not a regular file, but for example a device.
    """
    make_folder(path.parent)
    place = pathlib.Path(os.path.realpath(path))
    _check_replaceable(place)
    partial = temporary_name(place)
    try:
        with name_in_errors(path), _open_new(partial) as file:
            file.write(content)
        with name_in_errors(path):
            if place.exists():
                shutil.copymode(place, partial)
            os.replace(partial, place)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def open_text(path: pathlib.Path, replace: bool) -> Iterator[TextIO]:
    """Opens a text file to write bit by bit, so that a reader can follow; an empty one is removed.

    An existing file keeps its content until the new one is whole. Until then the new content is in a
    file beside it. If something goes wrong, it stays there, and a line on stderr says so.

    Args:
        path: the file; the folders to it are made.
        replace: whether the file may exist already.

    Raises:
        FileExistsError: it exists, and may not.
        OSError: it cannot be written.
    """
    make_folder(path.parent)
    is_there = replace and path.exists()
    if is_there and not path.is_file():  # a pipe, or /dev/null
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        return
    path = pathlib.Path(os.path.realpath(path))  # the file, not the link to it
    new = temporary_name(path) if is_there else path
    file = new.open("x", encoding="utf-8", errors="backslashreplace")
    try:
        with file:
            if is_there:
                shutil.copymode(path, new)
            yield file
        if is_there and new.stat().st_size:
            os.replace(new, path)
    except BaseException:
        if is_there and new.stat().st_size:
            print(f"{path} is left as it was; what is new is in {new}", file=sys.stderr)
        raise
    finally:
        if new.exists() and not new.stat().st_size:
            new.unlink()


def make_folder(path: pathlib.Path) -> bool:
    """Makes a folder and the folders to it, and returns whether it was missing.

    Raises:
        WSignError: a file, or a link to nothing, is in the way.
        OSError: it cannot be made.
    """
    if path.is_dir():
        return False
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
        if path.is_dir():  # another process was faster
            return False
        raise WSignError(
            f"{error.filename}: is a file or a link to nothing, and a folder is needed; name another"
        ) from None
    return True


def check_writable(path: pathlib.Path) -> None:
    """Refuses a path that `write` cannot write to, before a long computation for it begins.

    Raises:
        IsADirectoryError: it is a folder.
        WSignError: it is a device or a pipe, or its folder cannot be written to.
    """
    place = pathlib.Path(os.path.realpath(path))
    _check_replaceable(place)
    folder = next(each for each in place.parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise WSignError(f"{path}: cannot be written, because {folder} cannot; name another place")


def check_apart(written: Iterable[pathlib.Path], read: Iterable[pathlib.Path]) -> None:
    """Refuses to replace a file that is read, under whatever name.

    Raises:
        WSignError: a file is both written and read.
    """
    files = {_identity(path) for path in read if path.exists()}
    for path in written:
        if path.exists() and _identity(path) in files:
            raise WSignError(f"{path}: is read here, so it cannot be replaced; name another --out")


def _identity(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_replaceable(place: pathlib.Path) -> None:
    if place.is_dir():
        raise IsADirectoryError(21, "is a folder; name a file", str(place))
    if place.exists() and not place.is_file():
        raise WSignError(f"{place}: is a device or a pipe, not a file to replace; name another")


def temporary_name(path: pathlib.Path) -> pathlib.Path:
    """Returns a name for a file until it is whole: beside it, hidden and short.

    Nobody can foresee the name and put a link there. It is short because the file's own name may be as
    long as names can be.
    """
    stem = path.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(8)}.partial")


def _open_new(path: pathlib.Path) -> Any:
    # O_EXCL: never through a link, and never over a file that somebody else put there.
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")


@contextlib.contextmanager
def name_in_errors(path: pathlib.Path) -> Iterator[None]:
    """A context in which every `OSError` names the path.

    Otherwise a full disk's error has no name, and a temporary file's error has the temporary name.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def hold_lock(path: pathlib.Path, taken: str) -> Iterator[None]:
    """A context in which no other process holds the same lock.

    The lock is a folder, which may be renamed meanwhile, or a file, which is made if missing.

    Raises:
        WSignError: another process holds it.
    """
    lock = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            # The kernel releases the lock when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WSignError(taken) from None
        except OSError:
            pass  # not every network file system has locks
        yield
    finally:
        os.close(lock)


# ---------------------------------------------------------------------------------------------- JSON


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON whole or not at all; a name that is not UTF-8 is written with JSON's escapes."""
    content = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write(path, content.encode(errors="backslashreplace"))


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        WSignError: it is not JSON, is not an object, names something twice, or is larger than
            `MOST_JSON_BYTES`.
        OSError: it cannot be read.
    """
    return parse_json(_content(path), str(path))


def read_json_list(path: pathlib.Path) -> list[Any]:
    """Reads a JSON list; raises as `read_json` does."""
    value = _parse(_content(path), str(path))
    if not isinstance(value, list):
        raise WSignError(f"{path}: must be a list, like [1, 2]")
    return value


def _content(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_JSON_BYTES + 1)


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """Parses a JSON object, which `where` names in messages; raises as `read_json` does."""
    value = _parse(content, where)
    if not isinstance(value, dict):
        raise WSignError(f'{where}: must be an object, like {{"name": 1}}')
    return value


def _parse(content: bytes, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, item in pairs:
            if name in value:
                raise WSignError(f"{where}: {name!r} is in it twice; keep one")
            value[name] = item
        return value

    if len(content) > MOST_JSON_BYTES:
        raise WSignError(f"{where}: larger than {MOST_JSON_BYTES >> 20} MiB; write it again")
    try:
        # Some editors put a mark at the start of UTF-8.
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=unique)
    except WSignError:
        raise
    except RecursionError:
        raise WSignError(f"{where}: nested too deep; write it again") from None
    except ValueError as error:  # also text that is not UTF-8, and numbers of thousands of digits
        raise WSignError(f"{where}: not valid JSON ({error}); write it again") from None


def field(
    content: Mapping[str, Any],
    name: str,
    where: str,
    kind: type[T] | tuple[type[T], ...],
    holds: Callable[[T], bool] | None = None,
    allowed: str = "",
) -> T:
    """Returns one field of a JSON object, checked.

    Args:
        content: the object.
        name: the field's name.
        where: the file, for the message.
        kind: the type that it must have; a `bool` does not pass for a number.
        holds: a condition that must be true of it; a comparison with NaN never is.
        allowed: what is allowed, in words, for the message: 'a whole number from 1 up'.

    Raises:
        WSignError: it is missing or wrong; one line says what it must be.
    """
    must = f"it must be {allowed or _name_of(kind)}"
    if name not in content:
        raise WSignError(f"{where}: {name!r} is missing; {must}")
    value = content[name]
    wanted = kind if isinstance(kind, tuple) else (kind,)
    of_kind = isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))
    if not of_kind or (holds is not None and not holds(value)):
        raise WSignError(f"{where}: {name!r} is {reprlib.repr(value)}; {must}")
    return value


def _name_of(kind: type | tuple[type, ...]) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    words |= {dict: "an object", list: "a list"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words.get(each, each.__name__) for each in kinds)


# --------------------------------------------------------------------------------------------- names


def check_line(name: str, what: str) -> str:
    """Checks a gloss, or other text that must stay within one line, and returns it.

    `what` says what it is and where it comes from, for the message: 'label_map.json: gloss'.

    Raises:
        WSignError: it is empty, or has a line break, a control character or half a character in it.
    """
    if not name or not name.strip():
        raise WSignError(f"{what} {name!r} is empty; give it a name")
    # Control characters, and the two separators that Unicode takes for line breaks.
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in name):
        raise WSignError(
            f"{what} {name!r} has a line break or a control character in it; rename it"
        )
    if any(0xD800 <= ord(c) < 0xE000 for c in name):
        raise WSignError(f"{what} {name!r} is not UTF-8 text; rename it")
    return name


def check_id(name: str, what: str) -> str:
    """Checks an id that becomes a file name, as `check_line` does, and that it stays in its folder.

    Raises:
        WSignError: as `check_line`, or it has a slash or backslash in it, begins with a dot, or is
            longer than a file name can be.
    """
    check_line(name, what)
    if "/" in name or "\\" in name or name.startswith("."):
        raise WSignError(f"{what} {name!r} would leave its folder or be hidden; rename it")
    if len(name.encode()) > 240:
        raise WSignError(f"{what} {name[:40]!r}... is longer than 240 bytes; shorten it")
    return name

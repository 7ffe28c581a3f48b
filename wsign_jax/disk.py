"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import TextIO


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file, and the folders to it, through a temporary name, so that a reader never sees half
    of it, whoever else writes the same. Raises OSError where it cannot, and leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def text(path: pathlib.Path, replace: bool) -> Iterator[TextIO]:
    """A text file to be written bit by bit, for a reader to follow; one that stays empty is removed.

    A file that is there keeps its content until the new one is whole: what is new is beside it until
    then, and stays there, with a line on stderr, where something goes wrong.

    Args:
        path: of the file; the folders to it are made.
        replace: whether it may be there already.

    Raises:
        FileExistsError: it is there, and may not be.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_there = replace and path.exists()
    if is_there and not path.is_file():  # a pipe, or /dev/null
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    path = pathlib.Path(os.path.realpath(path))  # rather than the link to it
    new = path.with_name(f"{path.name}.{os.getpid()}.partial") if is_there else path
    file = new.open("x", encoding="utf-8")
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

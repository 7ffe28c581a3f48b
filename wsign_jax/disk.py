"""Files that are there whole or not at all."""

import os
import pathlib


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

"""A run's folder: where its checkpoints are, and that one command trains in it."""

import contextlib
import pathlib
from collections.abc import Iterator

from wsign_jax import disk, hosts

FOLDER = "checkpoints"


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
    """A context in which no other command can train in the same folder.

    Raises:
        WSignError: one does.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    taken = f"{workdir}: another command trains in it; wait for its end, or use another --workdir"
    try:
        with disk.locked(workdir, taken) if hosts.is_first() else contextlib.nullcontext():
            yield
    finally:
        with contextlib.suppress(OSError):
            workdir.rmdir()  # where nothing came of it


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a folder is a run with something to load; never creates anything."""
    return bool(steps_in(workdir / FOLDER))


def steps_in(folder: pathlib.Path) -> list[int]:
    """Steps of the checkpoints in a folder; those that are still being written have other names."""
    if not folder.is_dir():
        return []
    names = [child.name for child in folder.iterdir() if child.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))

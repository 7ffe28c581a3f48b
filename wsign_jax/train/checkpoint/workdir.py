"""A run's folder: where its files lie, and a lock so that only one command trains in it."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterator

from wsign_jax.common import files
from wsign_jax.data.layout import SPLITS
from wsign_jax.runtime import multihost

# Names in a run's folder.
CHECKPOINTS, RESTART, TENSORBOARD = "checkpoints", "restart_", "tensorboard"
METRICS, DROPPED = "metrics.jsonl", "metrics.dropped.jsonl"
INIT = "init.json"  # where its weights were imported from
# Files that describe a run's checkpoints or belong to them.
_RUN_FILES = (
    METRICS,
    DROPPED,
    INIT,
    *(f"report_{split}.json" for split in SPLITS),
    "decoder.json",
    "enrolled.npz",
    "lm_[1-9].arpa",
)
_made: set[pathlib.Path] = set()  # folders of runs that this process has made


def make_run_folder(workdir: pathlib.Path) -> bool:
    """Makes a run's folder, and returns whether it was missing.

    `claim_run_folder` removes the folder again if it is still empty at the end.

    Raises:
        WSignError: a file or a link to nothing is in the way.
    """
    new = files.make_folder(workdir)
    if new:
        _made.add(workdir)
    return new


@contextlib.contextmanager
def claim_run_folder(workdir: pathlib.Path) -> Iterator[None]:
    """A context in which no other command can train in the same folder.

    Raises:
        WSignError: another command trains there, or the folder cannot be made.
    """
    make_run_folder(workdir)
    taken = f"{workdir}: another command trains in it; wait for its end, or use another --workdir"
    try:
        with files.hold_lock(workdir, taken) if multihost.is_first() else contextlib.nullcontext():
            yield
    finally:
        if workdir in _made:
            with contextlib.suppress(OSError):
                workdir.rmdir()  # fails unless the folder is empty


def keep_logs(folder: pathlib.Path) -> str:
    """Renames the files that an earlier run has left in a folder without its checkpoints.

    Otherwise a new run would replace them, or they would be taken for its own.

    Returns:
        One line that says what was renamed; '' if the folder has no such file.
    """
    found = sorted(
        path
        for pattern in _RUN_FILES
        for path in folder.glob(pattern)
        if path.is_file() and path.stat().st_size  # empty: stopped before its first step
    )
    if not found:
        return ""
    for number in itertools.count(1):
        kept = [path.with_name(f"{path.stem}.{number}{path.suffix}") for path in found]
        if not any(os.path.lexists(path) for path in kept):
            break
    for path, name in zip(found, kept, strict=True):
        path.rename(name)
    names = ", ".join(path.name for path in kept)
    return f"{folder}: what an earlier run left without a checkpoint is kept as {names}"


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a folder is a run with something to load; never creates anything."""
    return bool(steps_in(workdir / CHECKPOINTS))


def steps_in(folder: pathlib.Path) -> list[int]:
    """The steps of the checkpoints in a folder, without those that are still being written.

    While a checkpoint is written, its folder has another name.
    """
    if not folder.is_dir():
        return []
    names = [child.name for child in folder.iterdir() if child.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))

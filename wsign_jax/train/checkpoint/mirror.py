"""A copy of a run's checkpoints, logs and compiled programs, for example in a Drive folder.

`<mirror>` has the layout of a workdir, so that it can be restored from, evaluated and named in
`init_from` like one. Everything arrives in `<mirror>/.wsign_mirror` and is then renamed. That folder
marks a mirror. Outside it, only checkpoints of the run are ever removed. "Home" is the workdir.
"""

import concurrent.futures
import contextlib
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.train.checkpoint import workdir
from wsign_jax.train.checkpoint.workdir import INIT, METRICS, TENSORBOARD

_OWN = ".wsign_mirror"  # the folder for copies that arrive and checkpoints that leave
PROGRAMS = "compilation_cache"
_PROGRAMS_BYTES = 2**30  # the most that this folder may hold
_WRITING = 5.0  # seconds after which JAX has surely written a program


class Mirror:
    """Makes the mirror like home, in the background of a run that goes on."""

    def __init__(
        self,
        root: pathlib.Path,
        workdir: pathlib.Path,
        warn: Callable[[str], None],
        programs: pathlib.Path | None = None,
    ):
        """Checks the mirror's folder, but copies nothing yet.

        Args:
            root: the mirror's folder. Its parent must exist, because a Drive that is not mounted would
                otherwise be replaced by a folder on this machine.
            workdir: the run's folder.
            warn: prints a line; the mirror's troubles never end a run.
            programs: JAX's folder of compiled programs; the programs that this run adds to it are
                mirrored too.

        Raises:
            WSignError: it is the workdir itself, or has something in it and is not a mirror.
        """
        if root.resolve() == workdir.resolve():
            raise WSignError("config.checkpoint.mirror is the workdir itself; name another folder")
        with contextlib.suppress(OSError):  # a Drive that is in trouble now may work later
            _check_mirror(root)
        self.root = root
        self._workdir = workdir
        self._warn = warn
        self._ours: set[int] = set()  # steps in the mirror that are this run's
        self._strange: set[int] = set()  # steps in the mirror that cannot be read
        self._claimed = False
        self._programs = programs
        self._foreign = set() if programs is None else _programs_in(programs)  # of earlier runs
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "mirror")

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints in the mirror; empty if it cannot be read."""
        try:
            return workdir.steps_in(self.root / workdir.CHECKPOINTS)
        except OSError as error:
            self._trouble(error)
            return []

    def note_steps(self, ours: Iterable[int], strange: Iterable[int] = ()) -> None:
        """Notes which checkpoints in the mirror are this run's, and which cannot be read.

        The mirror touches only this run's.
        """
        self._ours |= {*ours}
        self._strange |= {*strange}

    def has(self, step: int) -> bool:
        """Whether the mirror has a checkpoint of this run and step."""
        return step in self._ours and step in self.steps

    def bring_home(self) -> None:
        """Copies home this run's checkpoints that it lacks, and the logs if home is behind.

        Raises:
            OSError: the mirror cannot be read, or the workdir not written.
        """
        at_home = workdir.steps_in(self._workdir / workdir.CHECKPOINTS)
        if not at_home and (kept := workdir.keep_logs(self._workdir)):
            self._warn(kept)
        own = _emptied(self._workdir / _OWN)
        _copy_missing_checkpoints(self.root, self._workdir, own, self._ours)
        if max(self._ours) > max(at_home, default=-1):
            _copy_logs(self.root, self._workdir, own)
        own.rmdir()

    def bring_programs(self) -> None:
        """Copies the mirror's compiled programs to JAX's folder; trouble is only a warning."""
        try:
            if self._programs is not None:
                self._programs.mkdir(parents=True, exist_ok=True)
                names = _programs_in(self.root / PROGRAMS)
                arriving = self._programs / f".arriving_{os.getpid()}"
                _copy_programs(self.root / PROGRAMS, self._programs, arriving, names)
        except OSError as error:
            self._trouble(error)

    def update(self) -> None:
        """Starts to copy what the mirror lacks, at once or when the last copy is done."""
        self._worker.submit(self._update)

    def close(self) -> None:
        """Waits until the mirror is like home."""
        self._worker.shutdown(wait=True)

    def _update(self) -> None:
        try:
            if not self.root.is_dir():
                self.root.mkdir()
            # A Drive may be mounted after the run began, with anything in it.
            if {*workdir.steps_in(self.root / workdir.CHECKPOINTS)} - self._ours - self._strange:
                raise WSignError(
                    f"{self.root} holds checkpoints that were not there before; start the command again "
                    "to go on from them, or name a new folder"
                )
            own = self._claim()
            at_home = workdir.steps_in(self._workdir / workdir.CHECKPOINTS)
            self.note_steps(at_home)
            _copy_missing_checkpoints(self._workdir, self.root, own, at_home)
            _copy_logs(self._workdir, self.root, own)
            _prune(self.root, own, self._ours - self._strange - {*at_home})
            if self._programs is not None:
                # JAX writes a program in place, so that a new one may be there in part.
                names = _programs_in(self._programs, time.time() - _WRITING) - self._foreign
                _copy_programs(self._programs, self.root / PROGRAMS, own / "program", names)
        except Exception as error:  # an error here must not end a run
            self._trouble(error)

    def _claim(self) -> pathlib.Path:
        """Marks the mirror by a folder, and returns that; the first time, renames another run's logs."""
        _check_mirror(self.root)
        own = _emptied(self.root / _OWN)
        if not self._claimed:
            if not self._ours & {*self.steps} and (kept := workdir.keep_logs(self.root)):
                self._warn(kept)
            self._claimed = True
        return own

    def _trouble(self, error: Exception) -> None:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{error.filename or self.root}: {error.strerror}"
        self._warn(
            f"warning: config.checkpoint.mirror: {reason}; training goes on, and the next checkpoint "
            "tries again"
        )


def _check_mirror(root: pathlib.Path) -> None:
    """Raises a `WSignError` if a folder has something in it and is not a mirror."""
    if root.exists() and not root.is_dir():
        raise WSignError(f"config.checkpoint.mirror: {root} is a file; name a folder")
    # Mirrors of earlier versions do not have the mark.
    is_mirror = (root / _OWN).is_dir() or workdir.steps_in(root / workdir.CHECKPOINTS)
    if not is_mirror and root.exists() and any(root.iterdir()):
        raise WSignError(
            f"config.checkpoint.mirror: {root} has something in it and is not a mirror of a run; name a "
            "new folder, or an empty one"
        )


def _emptied(own: pathlib.Path) -> pathlib.Path:
    """Returns the folder for what is not whole, emptied of what a killed copy has left in it."""
    if own.is_symlink():
        raise WSignError(f"{own}: is a link, behind which nothing is removed; delete it")
    files.make_folder(own)
    for left in own.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return own


def _copy_missing_checkpoints(
    source: pathlib.Path, target: pathlib.Path, own: pathlib.Path, steps: Iterable[int]
) -> None:
    """Copies the checkpoints of `steps` that `target` lacks, by way of `own`, the newest first."""
    there = workdir.steps_in(target / workdir.CHECKPOINTS)
    for step in sorted({*steps} - {*there}, reverse=True):
        _copy_checkpoint(source, target, own, step)


def _copy_checkpoint(
    source: pathlib.Path, target: pathlib.Path, own: pathlib.Path, step: int
) -> None:
    folder = source / workdir.CHECKPOINTS / str(step)
    arriving = own / str(step)
    try:
        shutil.copytree(folder, arriving, copy_function=shutil.copyfile)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(arriving, ignore_errors=True)
        if not folder.exists():  # deleted in the meantime: nobody wants it
            return
        raise _first(error) from error
    if not folder.exists():  # deleted while it was copied: the copy may be incomplete
        shutil.rmtree(arriving)
        return
    (target / workdir.CHECKPOINTS).mkdir(exist_ok=True)
    arriving.rename(target / workdir.CHECKPOINTS / str(step))


def _first(error: OSError) -> OSError:
    """The first cause of an error; `shutil.copytree` lists causes as (source, target, reason)."""
    if isinstance(error, shutil.Error):
        _, target, reason = error.args[0][0]
        return OSError(0, reason, target)
    return error


def _copy_logs(source: pathlib.Path, target: pathlib.Path, own: pathlib.Path) -> None:
    boards = [path.relative_to(source) for path in (source / TENSORBOARD).glob("events*")]
    for name in (pathlib.Path(METRICS), pathlib.Path(INIT), *boards):
        if not (source / name).is_file():
            continue
        (target / name).parent.mkdir(exist_ok=True)
        arriving = own / "log"
        shutil.copyfile(source / name, arriving)
        os.replace(arriving, target / name)


def _programs_in(folder: pathlib.Path, until: float = math.inf) -> set[str]:
    """The names of the programs in a folder of JAX's that were written until a certain time."""
    found = (path for path in folder.glob("*-cache") if path.is_file())
    return {path.name for path in found if path.stat().st_mtime <= until}


def _copy_programs(
    source: pathlib.Path, target: pathlib.Path, arriving: pathlib.Path, names: set[str]
) -> None:
    """Copies programs that `target` lacks, by way of the file `arriving`, as long as it has room."""
    there = _programs_in(target)
    room = _PROGRAMS_BYTES - sum((target / name).stat().st_size for name in there)
    for name in sorted(names - there):
        size = (source / name).stat().st_size
        if size <= room:
            target.mkdir(exist_ok=True)
            shutil.copyfile(source / name, arriving)
            os.replace(arriving, target / name)
            room -= size


def _prune(mirror: pathlib.Path, own: pathlib.Path, steps: Iterable[int]) -> None:
    """Removes the checkpoints of `steps`, which home no longer keeps, from the mirror."""
    for step in {*steps} & {*workdir.steps_in(mirror / workdir.CHECKPOINTS)}:
        # Renamed first, so that a removal cut short leaves nothing that looks whole.
        leaving = own / f"leaving_{step}"
        (mirror / workdir.CHECKPOINTS / str(step)).rename(leaving)
        shutil.rmtree(leaving)

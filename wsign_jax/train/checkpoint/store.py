"""Saves and loads checkpoints; only this module uses orbax.

`<workdir>/checkpoints/<step>/` holds
    params       the weights, a nested dict: all that inference needs
    ema          their moving average, if training.ema is on
    training     step, optimizer state and loss scale
and, as orbax's custom metadata, what `run_info.metadata` returns: since orbax does not notice a changed
bit, it has checksums of everything.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import orbax.checkpoint.experimental.v1 as ocp
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from wsign_jax.common.errors import WSignError
from wsign_jax.model.whisper_sign import Params, parameter_paths
from wsign_jax.runtime import multihost
from wsign_jax.train.checkpoint import checksums, run_info, workdir
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.state import TrainState

DAMAGED = "damaged"  # the folder beside `checkpoints` that unreadable ones are moved to

T = TypeVar("T")


class DamagedCheckpoint(WSignError):
    """The error for a checkpoint that cannot be read, or has changed since it was written."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


@dataclasses.dataclass
class _BestAndLatest:
    """Orbax's preservation policy: the best checkpoint and the last `keep`."""

    keep: int
    best: Callable[[Sequence[int]], int | None]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [c.step for c in checkpoints]
        kept = {*steps[-self.keep :], self.best(steps)}
        return [step in kept for step in steps]


def _items(state: TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint; the weights are apart, since inference needs only them."""
    training = {"step": state.step, "opt_state": state.opt_state, "loss_scale": state.loss_scale}
    items = {"params": state.params, "training": training}
    return items if state.ema is None else items | {"ema": state.ema}


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        """Opens the checkpoints, to save and load or only to load.

        `keep` is the number of latest checkpoints that stay beside the best when saving. None only
        reads, and leaves alone what a run that still trains may be writing.
        """
        absl_logging.set_verbosity(absl_logging.FATAL)  # orbax narrates every save
        # After a load that failed.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        self._keep = keep
        self._saving: Any | None = None  # orbax's response to the save under way
        self._saved: RunInfo | None = None  # the last save's
        self._untold = False  # whether `poll` has not told yet what became of it
        self._timed_out = False  # whether the last attempt to save was given up
        self._infos: dict[int, RunInfo | None] = {}
        self._metadata: dict[int, Any] = {}
        self.workdir = workdir

    @functools.cached_property
    def _checkpointer(self) -> ocp.training.Checkpointer:
        """Orbax's checkpointer, which saves and prunes; made for the first save.

        It cannot be made if any checkpoint's metadata is damaged, so it is not used to read.
        """
        assert self._keep is not None, "opened only to read"
        for step in self.damaged:
            print(f"warning: {self.path(step)} is damaged; moved to {self.set_aside(step)}")
        return ocp.training.Checkpointer(
            (self.workdir / workdir.CHECKPOINTS).absolute(),
            preservation_policy=_BestAndLatest(self._keep, self._best),
            cleanup_tmp_directories=True,
        )

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints on disk, damaged or not, in increasing order."""
        return workdir.steps_in(self.workdir / workdir.CHECKPOINTS)

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None before the first is saved."""
        return max(self.steps, default=None)

    @property
    def best_step(self) -> int:
        """The step of the best checkpoint by validation WER; the newest if none was measured.

        It is never one of the `damaged`.

        Raises:
            DamagedCheckpoint: all are damaged.
            WSignError: the run has no checkpoints.
        """
        whole = [step for step in self.steps if step not in self.damaged]
        if not whole:
            if self.steps:
                self.info(self.steps[-1])  # raises with what is wrong with it
            place = self.workdir / workdir.CHECKPOINTS
            raise WSignError(f"{place}: no whole checkpoint; train again")
        best = self._best(whole)
        return whole[-1] if best is None else best

    @property
    def damaged(self) -> list[int]:
        """The steps of the checkpoints whose metadata cannot be read."""
        return [step for step in self.steps if self._read_info(step) is None]

    def path(self, step: int) -> pathlib.Path:
        """The folder of one checkpoint."""
        return self.workdir / workdir.CHECKPOINTS / str(step)

    def save(self, state: TrainState, info: RunInfo) -> float:
        """Starts to save: copies the arrays before it returns, and writes them in the background.

        A step that is saved already is left alone: a step's state is always the same. If the save before
        took too long, this one takes its place.

        Returns:
            The seconds for which the caller was held up.

        Raises:
            WSignError: this save or the one before could not be written.
        """
        began = time.monotonic()
        self._settle()
        step = int(state.step)
        self._saved, self._untold = info, True
        if step not in self.steps:
            items = _items(state)
            about = run_info.metadata(info, checksums.checksums_of_arrays(items))
            self._infos[step] = info

            def begin() -> None:
                self._saving = self._checkpointer.save_checkpointables_async(
                    step, items, custom_metadata=about, force=True
                )

            if not self._attempt(begin):
                self._attempt(begin)
        return time.monotonic() - began

    def poll(self) -> bool | None:
        """Tells, once, what became of the last save.

        Returns:
            True if it is on disk. False if it took too long, which is warned of: save again, soon. None
            if it is still under way or this was told before.

        Raises:
            WSignError: it could not be written, or took too long twice.
        """
        under_way = self._saving is not None and self._checkpointer.is_saving_in_progress()
        if under_way or not self._untold:
            return None
        self._untold = False
        return self._settle()

    def wait(self, state: TrainState | None = None) -> None:
        """Waits until the last save is on disk; saves a given `state` once more if that took too long.

        Raises:
            WSignError: it could not be written.
        """
        if not self._settle(last=state is None) and state and self._saved:
            self.save(state, self._saved)
            self._settle()

    def info(self, step: int) -> RunInfo:
        """Returns what a checkpoint says about its run.

        Raises:
            DamagedCheckpoint: it cannot be read.
            WSignError: another version of this project wrote it.
        """
        about = self._about(step)
        try:
            return RunInfo.from_json(about["run"])
        except WSignError as error:
            raise WSignError(f"{self.path(step)}: {run_info.of_another_version(error)}") from None

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Loads the whole state to the places and with the structure of `like`, of arrays or shapes.

        Raises:
            DamagedCheckpoint: it cannot be read, or has changed since it was written.
        """
        loaded = self._load(step, _items(like))
        return like.replace(params=loaded["params"], ema=loaded.get("ema"), **loaded["training"])

    def restore_weights(self, step: int, like: Params) -> Params:
        """Loads the weights to evaluate: the moving average if there is one.

        `like` has arrays or `jax.ShapeDtypeStruct`s with the sharding to load to.

        Raises:
            WSignError: names or shapes differ from `like` (lists the paths), or it is damaged.
        """
        differing = self.differing_parameters(step, like)
        if differing:
            raise WSignError(
                f"{self.path(step)}: {len(differing)} of its parameters do not fit this model; use "
                "the config it was trained with\n  " + "\n  ".join(differing)
            )
        name = "ema" if "ema" in self._about(step)["arrays"] else "params"
        try:
            return self._load(step, {name: like})[name]
        except DamagedCheckpoint as error:
            raise WSignError(f"{error}; move this folder away to take the next best") from None

    def differing_parameters(self, step: int, like: Params) -> list[str]:
        """Lists the parameters whose name or shape differs between a checkpoint and `like`."""

        def read() -> dict[str, tuple[int, ...]]:
            saved = self._read_metadata(step).metadata["params"]
            if not saved:
                raise ValueError("no parameters in it")
            return _shapes(saved)

        there = self._whole(step, read)
        here = _shapes(like)
        return [
            f"{path}: {there.get(path, 'missing')} there, {here.get(path, 'missing')} here"
            for path in sorted(there.keys() | here.keys())
            if there.get(path) != here.get(path)
        ]

    def set_aside(self, step: int) -> pathlib.Path:
        """Moves a damaged checkpoint out of the way; returns where it is now."""
        place = self.workdir / DAMAGED / str(step)
        while place.exists():
            place = place.with_name(place.name + "_")
        if multihost.is_first():
            place.parent.mkdir(exist_ok=True)
            self.path(step).rename(place)
        self._metadata.pop(step, None)
        multihost_utils.sync_global_devices("set aside")
        return place

    def close(self) -> None:
        """Waits for the save under way, and closes the checkpoints.

        Raises:
            WSignError: the save under way could not be written.
        """
        try:
            self._settle(last=True)
        finally:
            self._close_checkpointer()

    def _close_checkpointer(self) -> None:
        """Makes the next save start over: a new checkpointer removes what an old one left."""
        checkpointer = self.__dict__.pop("_checkpointer", None)
        if checkpointer is not None:
            with contextlib.suppress(Exception):  # reported already
                checkpointer.close()

    def _settle(self, last: bool = False) -> bool:
        """Ends the save under way; returns whether it is whole, as `_attempt` does."""
        saving, self._saving = self._saving, None
        if saving is None:
            return True
        whole = self._attempt(saving.result, last)
        self._timed_out = not whole
        return whole

    def _attempt(self, write: Callable[[], object], last: bool = False) -> bool:
        """Calls `write`; turns whatever orbax raises into one line, for example if the disk is full.

        Orbax's timeouts go by the clock, which may have been set in the meantime.

        Returns:
            Whether it was done. False if it took too long for the first time, unless this attempt is the
            `last` or other processes take part, which would not know that it is repeated.
        """
        try:
            write()
            return True
        except Exception as error:  # orbax has no common exception
            what, fix = "could not be written", "make room or whatever it lacks, and "
            late = isinstance(error, TimeoutError)
            if late:
                what, fix = "took too long, or the clock leapt", ""
                self._close_checkpointer()
            left = "none" if self.latest_step is None else self.path(self.latest_step)
            message = (
                f"{self.workdir / workdir.CHECKPOINTS}: a checkpoint {what} ({_reason(error)}); last "
                f"whole checkpoint: {left}; {fix}the same command goes on from it"
            )
            if not late or last or self._timed_out or jax.process_count() > 1:
                raise WSignError(message) from error
            self._timed_out = True
            print(f"warning: {message}; trying once more", flush=True)
            return False

    def _whole(self, step: int, read: Callable[[], T]) -> T:
        """Calls `read`; turns whatever orbax raises at a damaged checkpoint into one line."""
        try:
            return read()
        except WSignError as error:
            raise WSignError(f"{self.path(step)}: {error}") from None
        except jax.errors.JaxRuntimeError:  # for example out of memory
            raise
        except Exception as error:  # orbax has no common exception
            reason = _reason(error)
        raise DamagedCheckpoint(f"{self.path(step)}: not a whole checkpoint ({reason})", step)

    def _about(self, step: int) -> dict[str, Any]:
        """Reads and checks the JSON beside the arrays."""
        return self._whole(
            step, lambda: run_info.read_metadata(self._read_metadata(step).custom_metadata)
        )

    def _load(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), items
        )
        expected = self._about(step)["arrays"]

        def read() -> dict[str, Any]:
            loaded = ocp.load_checkpointables(self.path(step).absolute(), abstract)
            found = checksums.checksums_of_arrays(loaded)
            if changed := [name for name in found if found[name] != expected[name]]:
                raise ValueError(f"bits of {' and '.join(changed)} changed on disk")
            return loaded

        return self._whole(step, read)

    def _read_metadata(self, step: int) -> Any:
        """Orbax's own metadata, read only once: it takes a third of a second."""
        if step not in self._metadata:
            self._metadata[step] = ocp.checkpointables_metadata(self.path(step).absolute())
        return self._metadata[step]

    def _read_info(self, step: int) -> RunInfo | None:
        """A checkpoint's info, read only once; None if it cannot be read."""
        if step not in self._infos:
            try:
                self._infos[step] = self.info(step)
            except DamagedCheckpoint:
                self._infos[step] = None
        return self._infos[step]

    def _best(self, steps: Sequence[int]) -> int | None:
        """The best of some steps; None if they were not validated."""
        infos = {step: self._read_info(step) for step in steps}
        ranks = {step: info.rank for step, info in infos.items() if info and info.rank}
        return max(ranks, key=lambda step: (ranks[step], step), default=None)


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in parameter_paths(params).items()}


def _reason(error: Exception) -> str:
    """The reason that an error of orbax's gives, in one short line."""
    system = re.search(r"([^:]+) \[os_error_code", str(error))
    text = (str(error).splitlines() or [""])[0][:200]
    return system[1].strip() if system else f"{type(error).__name__}: {text}"

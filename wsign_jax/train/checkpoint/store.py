"""Saves and loads checkpoints; only this module uses orbax.

`<workdir>/checkpoints/<step>/` holds
    params       the weights, a nested dict: all that inference needs
    ema          their moving average, if training.ema is on
    training     step, optimizer state and loss scale
and, as orbax's custom metadata, JSON: the fields of `RunInfo`, and checksums of everything, since orbax
does not notice a changed bit.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import os
import pathlib
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint.experimental.v1 as ocp
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.model.whisper_sign import Params, parameter_paths
from wsign_jax.runtime import multihost
from wsign_jax.train import config_schema
from wsign_jax.train.checkpoint import checksums, workdir
from wsign_jax.train.state import TrainState

# The format of what is saved. It goes up with every change that the version before could not read, or
# that makes what it has saved unreadable. A checkpoint that does not name its format has format 1, in
# which every layer's parameters lie apart.
FORMAT = 2
_LAST_OF_FORMAT_1 = "b869d58"  # the commit
DAMAGED = "damaged"  # the folder beside `checkpoints` that unreadable ones are moved to

_UNAWAITED = "coroutine .* was never awaited"

T = TypeVar("T")


class DamagedCheckpoint(WSignError):
    """The error for a checkpoint that cannot be read, or has changed since it was written."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class SaveTimedOut(WSignError):
    """The error for a save that orbax gave up.

    Its timeouts go by the clock, which may have been set in the meantime.
    """


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """The information on its run that a checkpoint holds beside the arrays."""

    stage: int  # index into config.stages
    next_batch: int  # within the stage
    val_wer: float | None  # of these weights, if they were validated
    best_wer: float | None  # in this stage so far
    data: str  # fingerprint of the training data
    config: dict[str, Any]
    vocabulary: Vocabulary
    iterator: dict[str, Any]  # grain's state

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as values that JSON can hold."""
        return {**dataclasses.asdict(self), "vocabulary": list(self.vocabulary.names)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunInfo":
        """Reads and checks what `to_json` returns: an older version, or anybody, may have written it.

        Raises:
            WSignError: a field is missing, unknown, of another kind or out of range.
        """
        where, counts, rate = "run", "a whole number from 0 up", "null or a number from 0 up"

        def field(name: str, kind: Any, holds: Any = None, allowed: str = "") -> Any:
            return files.field(value, name, where, kind, holds, allowed)

        def is_rate(x: float | None) -> bool:
            return x is None or 0 <= x < math.inf

        config = field("config", dict)
        config_schema.check_saved(config)
        stages = range(len(config["stages"]))
        names = field("vocabulary", list, lambda x: x and all(isinstance(n, str) for n in x))
        vocabulary = Vocabulary.from_mapping({name: id for id, name in enumerate(names)}, where)
        if len(names) != len({*names}):
            raise WSignError(f"{where}: a gloss is in 'vocabulary' twice")
        found = {
            "stage": field("stage", int, stages.__contains__, "the number of a stage"),
            "next_batch": field("next_batch", int, lambda x: x >= 0, counts),
            "val_wer": field("val_wer", (int, float, type(None)), is_rate, rate),
            "best_wer": field("best_wer", (int, float, type(None)), is_rate, rate),
            "data": field("data", str),
            "iterator": field("iterator", dict),
        }
        for name in value.keys() - found.keys() - {"config", "vocabulary"}:
            raise WSignError(f"{where}: {name!r} is unknown")
        return cls(config=config, vocabulary=vocabulary, **found)

    @property
    def rank(self) -> tuple[float, float] | None:
        """The key that sorts validated checkpoints, the best last: by stage, then by error.

        A later stage's model replaces the earlier one even if its error is higher, because it is
        trained for another use. None if these weights were not validated.
        """
        return None if self.val_wer is None else (self.stage, -self.val_wer)


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
    """A state as the items of a checkpoint: the weights are apart, for whoever needs only them."""
    training = {"step": state.step, "opt_state": state.opt_state, "loss_scale": state.loss_scale}
    items = {"params": state.params, "training": training}
    return items if state.ema is None else items | {"ema": state.ema}


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        """Opens the checkpoints, to save and load or only to load.

        Args:
            workdir: the run's folder.
            keep: how many of the latest to keep beside the best when saving. None only reads, and
                leaves alone what a run that still trains may be writing.
        """
        absl_logging.set_verbosity(absl_logging.FATAL)  # orbax narrates every save
        self._keep = keep
        self._saving: Any | None = None  # orbax's response to the save under way
        self._infos: dict[int, RunInfo | None] = {}
        self._metadata: dict[int, Any] = {}
        self.workdir = workdir

    @functools.cached_property
    def _checkpointer(self) -> ocp.training.Checkpointer:
        """Orbax's checkpointer, which saves and prunes; made for the first save.

        It cannot be made if any checkpoint's metadata is damaged, so it is not used to read.
        """
        assert self._keep is not None, "opened only to read"
        for step in self.steps:
            if self._read_info(step) is None:
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
        whole = [step for step in self.steps if self._read_info(step) is not None]
        if not whole:
            if self.steps:
                self.info(self.steps[-1])  # raises with what is wrong with it
            raise WSignError(
                f"{self.workdir / workdir.CHECKPOINTS}: no whole checkpoint; train again"
            )
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

        A step that is saved already is left alone: a step's state is always the same.

        Returns:
            The seconds for which the caller was held up.

        Raises:
            WSignError: this save or the one before could not be written.
        """
        began = time.monotonic()
        self.wait()
        step = int(state.step)
        if step not in self.steps:
            items = _items(state)
            about = {"run": info.to_json(), "arrays": checksums.checksums_of_arrays(items)}
            self._infos[step] = info
            self._saving = self._written(
                lambda: self._checkpointer.save_checkpointables_async(
                    step,
                    items,
                    custom_metadata=about
                    | {"digest": checksums.checksum_of_json(about), "format": FORMAT},
                    force=True,
                )
            )
        return time.monotonic() - began

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
            raise self._of_another_version(step, error) from None

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Loads the whole state.

        Args:
            step: the checkpoint's step.
            like: a state of the same structure, of arrays or of shapes, which say where to put what
                is loaded. The run's config has been compared before; see
                `config_schema.differences`.

        Raises:
            DamagedCheckpoint: it cannot be read, or has changed since it was written.
        """
        loaded = self._load(step, _items(like))
        return like.replace(params=loaded["params"], ema=loaded.get("ema"), **loaded["training"])

    def restore_weights(self, step: int, like: Params) -> Params:
        """Loads the weights to evaluate: the moving average if there is one.

        Args:
            step: the checkpoint's step.
            like: arrays or `jax.ShapeDtypeStruct`s with the sharding to load to.

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

    def last_of_its_stage(self, count: int) -> list[int]:
        """The steps of the last `count` checkpoints; fewer if the newest one's stage has fewer."""
        infos = {step: info for step in self.steps if (info := self._read_info(step))}
        newest = max(info.stage for info in infos.values())
        return [step for step, info in infos.items() if info.stage == newest][-count:]

    def restore_average(self, steps: Sequence[int], like: Params) -> Params:
        """Loads the mean of the weights of several checkpoints; see `restore_weights`."""
        total = self.restore_weights(steps[0], like)
        for step in steps[1:]:
            total = jax.tree.map(jnp.add, total, self.restore_weights(step, like))
        return jax.tree.map(lambda x: x / len(steps), total)

    def differing_parameters(self, step: int, like: Params) -> list[str]:
        """Lists the parameters whose name or shape differs between a checkpoint and `like`."""

        def read() -> dict[str, tuple[int, ...]]:
            saved = self._read_metadata(step).metadata["params"]
            shapes = {path: tuple(leaf.shape) for path, leaf in parameter_paths(saved).items()}
            if not shapes:
                raise ValueError("no parameters in it")
            return shapes

        there = self._whole(step, read)
        here = {path: tuple(leaf.shape) for path, leaf in parameter_paths(like).items()}
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

    @property
    def saving(self) -> bool:
        """Whether a save is still under way; raises if it has failed.

        Raises:
            WSignError: the save could not be written.
        """
        if self._saving is not None and not self._checkpointer.is_saving_in_progress():
            self.wait()
        return self._saving is not None

    def wait(self) -> None:
        """Waits until the save under way is on disk.

        Raises:
            WSignError: it could not be written.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            self._written(saving.result)

    def close(self) -> None:
        """Waits for the save under way, and closes the checkpoints.

        Raises:
            WSignError: the save under way could not be written.
        """
        try:
            self.wait()
        finally:
            if "_checkpointer" in self.__dict__:
                with contextlib.suppress(Exception):  # wait() has reported it already
                    self._checkpointer.close()

    def _folder(self, step: int) -> pathlib.Path:
        return self.path(step).absolute()  # orbax takes only absolute paths

    def _written(self, write: Callable[[], T]) -> T:
        """Calls `write`; turns whatever orbax raises into one line, for example if the disk is full."""
        try:
            return write()
        except Exception as error:  # orbax has no common exception
            what, kind, fix = (
                "could not be written",
                WSignError,
                "make room or whatever it lacks, and ",
            )
            if isinstance(error, TimeoutError):
                what, kind, fix = "took too long, or the clock leapt", SaveTimedOut, ""
                self._forget_what_is_half_written()
            left = "none" if self.latest_step is None else self.path(self.latest_step)
            raise kind(
                f"{self.workdir / workdir.CHECKPOINTS}: a checkpoint {what} ({_reason(error)}); last "
                f"whole checkpoint: {left}; {fix}the same command goes on from it"
            ) from error

    def _forget_what_is_half_written(self) -> None:
        """Makes the next save begin afresh: a new checkpointer removes what an old one left."""
        _ignore_what_a_failed_load_leaves()
        checkpointer = self.__dict__.pop("_checkpointer", None)
        if checkpointer is not None:
            with contextlib.suppress(Exception):
                checkpointer.close()

    def _whole(self, step: int, read: Callable[[], T]) -> T:
        """Calls `read`; turns whatever orbax raises at a damaged checkpoint into one line."""
        _ignore_what_a_failed_load_leaves()  # before, since its threads may be faster than its error
        try:
            return read()
        except (WSignError, jax.errors.JaxRuntimeError):  # the latter: for example out of memory
            raise
        except Exception as error:  # orbax has no common exception
            reason = _reason(error)
        raise DamagedCheckpoint(f"{self.path(step)}: not a whole checkpoint ({reason})", step)

    def _load(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), items
        )
        expected = self._about(step)["arrays"]

        def read() -> dict[str, Any]:
            loaded = ocp.load_checkpointables(self._folder(step), abstract)
            changed = [
                name
                for name, d in checksums.checksums_of_arrays(loaded).items()
                if d != expected[name]
            ]
            if changed:
                raise ValueError(f"bits of {' and '.join(changed)} changed on disk")
            return loaded

        return self._whole(step, read)

    def _about(self, step: int) -> dict[str, Any]:
        """Reads and checks the JSON beside the arrays."""

        def read() -> dict[str, Any]:
            saved = self._read_metadata(step).custom_metadata
            if not saved:
                raise ValueError("its metadata is gone")
            if (found := saved.get("format", 1)) > FORMAT:
                raise WSignError(
                    f"{self.path(step)}: written by a newer version of this project (format {found}; "
                    f"this one reads format {FORMAT}); update the project"
                )
            if found < FORMAT:
                raise WSignError(
                    f"{self.path(step)}: written by an older version of this project (format {found}; "
                    f"this one reads format {FORMAT}); read it with commit {_LAST_OF_FORMAT_1}, or name "
                    "another --workdir"
                )
            try:
                about = {n: files.field(saved, n, "metadata", dict) for n in ("run", "arrays")}
            except WSignError as error:
                raise self._of_another_version(step, error) from None
            if saved["digest"] != checksums.checksum_of_json(about):
                raise ValueError("bits of its metadata changed on disk")
            return about

        return self._whole(step, read)

    def _read_metadata(self, step: int) -> Any:
        """Orbax's own metadata, read only once: it takes orbax a third of a second."""
        if step not in self._metadata:
            self._metadata[step] = ocp.checkpointables_metadata(self._folder(step))
        return self._metadata[step]

    def _of_another_version(self, step: int, reason: WSignError) -> WSignError:
        return WSignError(
            f"{self.path(step)}: written by another version of this project ({reason}); use that one, "
            "or another --workdir"
        )

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
        ranks = {}
        for step in steps:
            info = self._read_info(step)
            if info is not None and info.rank is not None:
                ranks[step] = info.rank
        return max(ranks, key=lambda step: (ranks[step], step), default=None)


@functools.cache
def _ignore_what_a_failed_load_leaves() -> None:
    """Silences the pages that Python would print, now or minutes later, after a failed load.

    They are about orbax's coroutines, never awaited or ended in the middle, and about threads that call
    a closed loop.
    """
    warnings.filterwarnings("ignore", _UNAWAITED, RuntimeWarning)
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        orbaxs = inspect.iscoroutine(unraisable.object) and (
            f"{os.sep}orbax{os.sep}" in unraisable.object.cr_code.co_filename
        )
        if not orbaxs and not re.match(
            f"{_UNAWAITED}|Event loop is closed", str(unraisable.exc_value)
        ):
            report(unraisable)

    sys.unraisablehook = hook


def _reason(error: Exception) -> str:
    """The reason that an error of orbax's gives, in one short line."""
    system = re.search(r"([^:]+) \[os_error_code", str(error))
    if system:
        return system[1].strip()
    text = str(error).splitlines()[0][:200] if str(error) else ""
    return f"{type(error).__name__}: {text}"


def check_vocabulary(theirs: Vocabulary, ours: Vocabulary, source: str) -> None:
    """Raises a `WSignError` that names the first glosses in which two vocabularies differ."""
    if theirs == ours:
        return
    pairs = enumerate(itertools.zip_longest(theirs.names, ours.names, fillvalue="nothing"))
    differing = [f"{id}: {a!r} there, {b!r} here" for id, (a, b) in pairs if a != b]
    sizes = "" if len(theirs) == len(ours) else f"{len(theirs)} ids there, {len(ours)} here; "
    what = sizes + "; ".join(differing[:3])
    raise WSignError(f"{source}: another vocabulary ({what}); use the label_map.json it began with")

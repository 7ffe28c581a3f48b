"""Checkpoints: everything of orbax that the project uses.

`<workdir>/checkpoints/<step>/` holds
    params       the weights, a nested dict: all that inference needs
    ema          their moving average, where training.ema is on
    training     step, optimiser state and loss scale
    metrics      stage and validation WER, where the step was validated
and, as orbax's custom metadata, JSON: stage, position in the data, config, vocabulary, fingerprint of
the training data.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp
from absl import logging as absl_logging
from ml_collections import ConfigDict

from wsign_jax.data.vocab import Vocabulary
from wsign_jax.errors import WSignError
from wsign_jax.model.whisper_sign import Params, parameter_paths
from wsign_jax.train.state import TrainState

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a checkpoint says about its run, beside the arrays."""

    stage: int  # index into config.stages
    next_batch: int  # within the stage
    data: str  # fingerprint of the training data
    config: dict[str, Any]
    vocabulary: Vocabulary
    iterator: dict[str, Any]  # grain's state

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {**dataclasses.asdict(self), "vocabulary": list(self.vocabulary.names)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunInfo":
        """The inverse of `to_json`."""
        return cls(**{**value, "vocabulary": Vocabulary(tuple(value["vocabulary"]))})


def _rank(metrics: dict[str, Any]) -> tuple[float, float]:
    """Orders checkpoints, the best last: a later stage first of all, then the lower error.

    A later stage's model replaces the earlier one even where its error is higher: it is trained for
    another use.
    """
    return metrics["stage"], -metrics["val/wer"]


@dataclasses.dataclass
class _BestAndLatest:
    """Orbax's preservation policy: the best checkpoint and the last `keep`."""

    keep: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = {c.step for c in checkpoints[-self.keep :]}
        best = _best(checkpoints)
        return [c.step in steps or c is best for c in checkpoints]


def _best(checkpoints: Sequence[Any]) -> Any | None:
    measured = [c for c in checkpoints if c.metrics]
    return max(measured, key=lambda c: (_rank(c.metrics), c.step), default=None)


def _items(state: TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint: the weights by themselves, for whoever needs no more."""
    training = {"step": state.step, "opt_state": state.opt_state, "loss_scale": state.loss_scale}
    items = {"params": state.params, "training": training}
    return items if state.ema is None else items | {"ema": state.ema}


class SaveClock:
    """When the next periodic checkpoint is due: by steps or by minutes, whichever comes first."""

    def __init__(self, config: ConfigDict):
        """Starts counting; `config` is `config.checkpoint`."""
        self._config = config
        self._saved_at = time.monotonic()

    def __call__(self, step: int) -> bool:
        """Whether one is due after this step."""
        minutes = (time.monotonic() - self._saved_at) / 60
        return step % self._config.every_steps == 0 or minutes >= self._config.every_minutes

    def reset(self) -> None:
        """Notes that one was saved now."""
        self._saved_at = time.monotonic()


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: pathlib.Path, keep: int | None = None):
        """Opens them.

        Args:
            workdir: the run's folder.
            keep: to save: how many of the latest to keep beside the best. None only reads, and
                leaves alone what a run that still trains may be writing.
        """
        absl_logging.set_verbosity(absl_logging.ERROR)  # orbax narrates every save
        self._checkpointer = ocp.training.Checkpointer(
            (workdir / FOLDER).absolute(),
            preservation_policy=_BestAndLatest(keep) if keep else None,
            cleanup_tmp_directories=keep is not None,
        )
        self.workdir = workdir

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    @property
    def best_step(self) -> int:
        """The step of the best checkpoint by validation WER; the newest where none was measured.

        Raises:
            WSignError: there is no checkpoint at all.
        """
        best = _best(self._checkpointer.checkpoints)
        step = self.latest_step if best is None else best.step
        if step is None:
            raise WSignError(f"{self.workdir / FOLDER}: no whole checkpoint; train again")
        return step

    def best_wer(self, stage: int) -> float:
        """The lowest validation WER saved in a stage; infinite where there is none."""
        wers = [
            c.metrics["val/wer"]
            for c in self._checkpointer.checkpoints
            if c.metrics and c.metrics["stage"] == stage
        ]
        return min(wers, default=float("inf"))

    def path(self, step: int) -> pathlib.Path:
        """The folder of one checkpoint."""
        return self.workdir / FOLDER / str(step)

    def save(self, state: TrainState, info: RunInfo, val_wer: float | None = None) -> None:
        """Starts to save; the arrays are copied before it returns, writing goes on behind.

        A step that is saved already is left alone: a step's state is always the same.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        metrics = None if val_wer is None else {"val/wer": val_wer, "stage": info.stage}
        self._checkpointer.save_checkpointables_async(
            step, _items(state), metrics=metrics, custom_metadata=info.to_json(), force=True
        )

    def info(self, step: int) -> RunInfo:
        """What a checkpoint says about its run.

        Raises:
            WSignError: it is damaged.
        """
        with self._whole(step):
            metadata = self._checkpointer.checkpointables_metadata(step)
            return RunInfo.from_json(metadata.custom_metadata)

    @contextlib.contextmanager
    def _whole(self, step: int) -> Iterator[None]:
        """Turns whatever orbax raises at a damaged checkpoint into a line that says what to do."""
        try:
            yield
        except jax.errors.JaxRuntimeError:  # no memory, or another process is lost
            raise
        except Exception as error:  # orbax has no common exception
            reason = str(error).splitlines()[0] if str(error) else ""
            raise WSignError(
                f"{self.path(step)}: not a whole checkpoint ({type(error).__name__}: {reason[:200]}); "
                "delete this folder to go on from the one before"
            ) from error

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Loads the whole state.

        Args:
            step: of the checkpoint.
            like: a state of the same structure (the run's config has been compared before, see
                `config.differences`); its arrays say where to put what is loaded.
        """
        loaded = self._load(step, _items(like))
        return like.replace(params=loaded["params"], ema=loaded.get("ema"), **loaded["training"])

    def restore_weights(self, step: int, like: Params) -> Params:
        """Loads the weights to evaluate: the moving average where there is one.

        Args:
            step: of the checkpoint.
            like: arrays or `jax.ShapeDtypeStruct`s with the sharding to load to.

        Raises:
            WSignError: names or shapes differ from `like`; lists the paths.
        """
        differing = self.differing_parameters(step, like)
        if differing:
            raise WSignError(
                f"{self.path(step)}: {len(differing)} of its parameters do not fit this model; use "
                "the config it was trained with\n  " + "\n  ".join(differing)
            )
        with self._whole(step):
            saved = self._checkpointer.checkpointables_metadata(step).metadata
            name = "ema" if "ema" in saved else "params"
        return self._load(step, {name: like})[name]

    def differing_parameters(self, step: int, like: Params) -> list[str]:
        """Parameters whose name or shape is another in a checkpoint than in `like`."""
        with self._whole(step):
            saved = self._checkpointer.checkpointables_metadata(step).metadata["params"]
            there = {path: tuple(leaf.shape) for path, leaf in parameter_paths(saved).items()}
            if not there:
                raise ValueError("no parameters in it")
        here = {path: tuple(leaf.shape) for path, leaf in parameter_paths(like).items()}
        return [
            f"{path}: {there.get(path, 'missing')} there, {here.get(path, 'missing')} here"
            for path in sorted(there.keys() | here.keys())
            if there.get(path) != here.get(path)
        ]

    def _load(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), items
        )
        with self._whole(step):
            return self._checkpointer.load_checkpointables(step, abstract)

    def wait(self) -> None:
        """Waits until the save under way is on disk."""
        self._checkpointer.wait()

    def close(self) -> None:
        """Waits and closes."""
        self._checkpointer.close()


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a folder is a run with something to load; never creates anything."""
    folder = workdir / FOLDER
    return folder.is_dir() and any(child.name.isdigit() for child in folder.iterdir())

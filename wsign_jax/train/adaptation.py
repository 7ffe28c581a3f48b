"""Adapts a trained run to one person: what is taken from the run, and when adapting goes too far."""

import functools
import pathlib
from typing import Any

from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.runtime import multihost
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.checkpoint.store import Checkpoints
from wsign_jax.train.checkpoint.workdir import INIT, has_checkpoint
from wsign_jax.train.initial_weights import WHISPER, saved_info

AUTO, NOTHING = "auto", "none"  # values of `data.replay` beside a folder
ALLOWED = 0.01  # by how much the WER of the replayed data may rise
_REPLAY_WER = "replay_wer"  # in `init.json`


def settle_adaptation(
    config: ConfigDict, workdir: pathlib.Path
) -> tuple[ConfigDict, RunInfo | None]:
    """Returns the config of an adaptation with everything that is taken from the run to adapt.

    That is the model, the longest sequence, CTC's share of the loss, and training's attention windows.
    `data.replay` becomes a folder or 'none'. Once the adaptation has a checkpoint of its own, all this
    is taken from there.

    Returns:
        The config, and what is known of the run; None if `data.replay` is empty.

    Raises:
        WSignError: `init_from` is not a run.
    """
    if not config.data.replay:
        return config, None
    own = saved_info(config, workdir)
    info = own or _run_to_adapt(config.init_from)
    config, theirs = config.copy_and_resolve_references(), info.config
    config.model = ConfigDict(theirs["model"])
    config.data.max_seq_length = theirs["data"]["max_seq_length"]
    stage, last = config[config.stages[0]], theirs[theirs["stages"][info.stage]]
    stage.alpha = last["alpha"]
    stage.chunks, stage.left_contexts = tuple(last["chunks"]), tuple(last["left_contexts"])
    if config.data.replay == AUTO:
        before = theirs["data"].get("replay") or NOTHING  # what the run has replayed itself
        if own is None and before == NOTHING:
            before = _data_of(pathlib.Path(config.init_from), theirs)
        config.data.replay = before
    return config, info


def _run_to_adapt(name: str) -> RunInfo:
    """Returns what the best checkpoint of a run tells of it."""
    if name in ("", "auto") or name.startswith(WHISPER):
        raise WSignError(
            f"config.init_from is {name!r}; name the run to adapt, --config.init_from=RUN"
        )
    folder = pathlib.Path(name)
    if not has_checkpoint(folder):
        raise WSignError(f"config.init_from: {folder} holds no checkpoint; name a run's folder")
    checkpoints = Checkpoints(folder)
    return checkpoints.info(checkpoints.best_step)


def _data_of(run: pathlib.Path, config: dict[str, Any]) -> str:
    """Returns the absolute folder of the data that a run was trained on, or 'none' if it is gone."""
    root = pathlib.Path(config["data"]["dir"] or run / "data").absolute()
    if layout.count(root, "train") and layout.count(root, "val"):
        aspect = config["data"]["aspect"]
        if aspect and layout.read_aspect(root) != aspect:
            raise WSignError(
                f"{run} was trained with config.data.aspect={aspect}, and {root / 'dataset.json'} has "
                f'another one; write "aspect": {aspect} into it, so that its data can be replayed'
            )
        return str(root)
    print(
        f"replay: {root}, which {run} was trained on, is not here: others may be recognized worse "
        "afterwards, and nothing stops that; name a copy with --config.data.replay=DIR",
        flush=True,
    )
    return NOTHING


def replay_root(config: ConfigDict, root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of the data to replay beside that in `root`; None if nothing is replayed.

    Raises:
        WSignError: it is missing, or the same folder.
    """
    if config.data.replay in ("", NOTHING):
        return None
    replay = pathlib.Path(config.data.replay)
    if not replay.is_dir():
        raise WSignError(
            f"config.data.replay: {replay}: no such folder; name a data set, or 'none'"
        )
    if replay.resolve() == root.resolve():
        raise WSignError(
            f"config.data.dir: {root} is what the run was trained on; name the person's data set"
        )
    return replay


class ReplayGuard:
    """Tells when the WER of the replayed data has risen too far above that at the start.

    The WER at the start is kept in the run's `init.json`, for a run that goes on.
    """

    def __init__(self, workdir: pathlib.Path):
        self._file = workdir / INIT

    @functools.cached_property
    def first(self) -> float:
        """The WER at the start.

        Raises:
            WSignError: `init.json` is gone or does not have it.
        """
        about = files.read_json(self._file)
        return files.field(about, _REPLAY_WER, str(self._file), (int, float))

    def begin(self, wer: float, init_from: str) -> None:
        """Notes the WER before the first step, of the weights of the run `init_from`."""
        self.first = wer
        if multihost.is_first():
            files.write_json(self._file, {"init_from": init_from, _REPLAY_WER: wer})

    def is_behind(self, wer: float) -> bool:
        """Whether a WER is too far above the first one."""
        return wer > self.first + ALLOWED

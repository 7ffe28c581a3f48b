"""Where a run begins: its own checkpoint in the workdir, or else in its mirror; then another run's
weights, or Whisper's; then fresh ones."""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.runtime import multihost
from wsign_jax.train import checkpoint, home, imported, origin, setup, stages
from wsign_jax.train import state as train_state
from wsign_jax.train import step as step_lib
from wsign_jax.train.checkpoint import Checkpoints, RunInfo
from wsign_jax.train.mirror import Mirror
from wsign_jax.train.setup import Run, Stage
from wsign_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A run's own checkpoint, loaded."""

    step: int
    info: RunInfo
    state: TrainState


def over(config: ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Makes the first free of `<workdir>/restart_1`, `restart_2`, ... to start over in.

    Returns:
        The flags that send a run there, its mirror to a folder of its own too; they come last, so
        that they override what was typed.

    Raises:
        WSignError: a config value out of range, or several processes, each of which would take a
            folder of its own.
    """
    config_lib.check(config)
    if jax.process_count() > 1:
        raise WSignError("config.restart is for one process; name another --workdir to all of them")
    files.make_folder(workdir)
    mirror = config.checkpoint.mirror and pathlib.Path(config.checkpoint.mirror)
    for number in itertools.count(1):
        folder = workdir / f"{origin.RESTART}{number}"
        mirrored = mirror and mirror.with_name(f"{mirror.name}_{folder.name}")
        if mirrored and mirrored.exists():  # of another machine, which may have gone away
            continue
        if not os.path.lexists(folder) and home.make(folder):
            break
    flags = [f"--workdir={folder}", "--config.restart=False"]
    if mirrored:
        flags.append(f"--config.checkpoint.mirror={mirrored}")
    print(f"starting over in {folder}", flush=True)
    return flags


def begin(run: Run, stage: Stage, params: Params, step: int) -> TrainState:
    """The state with which a stage begins: optimiser and moving average afresh."""
    return train_state.create_placed(_create(run, stage, step), params, run.network.shapes)


def shapes(run: Run, stage: Stage) -> TrainState:
    """Shapes, dtypes and places of a stage's states."""
    return train_state.abstract(_create(run, stage, step=0), run.network.shapes)


def train_step(run: Run, stage: Stage) -> step_lib.TrainStep:
    """The stage's step, which leaves a state where `begin` has put it."""
    return step_lib.make_train_step(
        run.network.graph,
        stage.labels,
        run.config.training,
        hybrid=stage.config.alpha < 1,
        rates=stage.rates,
        shardings=jax.tree.map(lambda x: x.sharding, shapes(run, stage)),
    )


def _create(run: Run, stage: Stage, step: int) -> train_state.Create:
    training = run.config.training
    return functools.partial(
        train_state.create,
        tx=stages.make_optimizer(stage.labels, stages.StepSettings(), training.grad_clip),
        step=step,
        ema=training.ema > 0,
        loss_scale=training.loss_scale if training.precision == "float16" else None,
    )


def resume(run: Run, checkpoints: Checkpoints, mirror: Mirror | None) -> Resumed | None:
    """Loads the newest whole checkpoint of this run; None where there is no checkpoint at all. Then logs
    that an earlier run has left are renamed.

    What the mirror has and the workdir lacks is brought first. A damaged checkpoint is moved aside where
    the mirror has a copy of it; others are passed over and, once a whole one is found, moved aside. Each
    is named.

    Raises:
        WSignError: a checkpoint is of a run with other settings or data, or none of them is whole.
    """
    _bring_from_mirror(run, mirror)
    multihost.check_same(str(checkpoints.steps), f"the checkpoints in {run.workdir}")
    damaged: list[checkpoint.DamagedCheckpoint] = []
    for step in reversed(checkpoints.steps):
        found = _load(run, checkpoints, step)
        if isinstance(found, checkpoint.DamagedCheckpoint) and multihost.any_of_all(
            mirror is not None and mirror.has(step)
        ):
            print(f"warning: {found}; moved to {checkpoints.set_aside(step)}", flush=True)
            _bring_from_mirror(run, mirror)
            found = _load(run, checkpoints, step)
        if isinstance(found, checkpoint.DamagedCheckpoint):
            damaged.append(found)
            continue
        for passed in damaged:
            place = checkpoints.set_aside(passed.step)
            print(f"warning: {passed}; moved to {place}, going on from step {step}", flush=True)
        return found
    if damaged:
        raise WSignError(
            "\n".join(map(str, damaged))
            + "\nno whole checkpoint is left; start over in a new folder "
            "with --config.restart=True, or bring a copy back"
        )
    with multihost.all_or_none():  # the others wait for the first, which writes the logs
        if multihost.is_first() and (kept := home.keep_logs(run.workdir)):
            print(kept, flush=True)
    return None


def _load(run: Run, checkpoints: Checkpoints, step: int) -> Resumed | checkpoint.DamagedCheckpoint:
    try:
        info = resumable(run, checkpoints, step)
        state = checkpoints.restore(step, shapes(run, run.stages[info.stage]))
    except checkpoint.DamagedCheckpoint as error:
        return error
    return Resumed(step, info, state)


def resumable(run: Run, checkpoints: Checkpoints, step: int) -> RunInfo:
    """What the checkpoint at `step` says, once it is sure that this run can go on from it.

    Raises:
        WSignError: config, parameters, vocabulary or training data are others; names what differs.
        DamagedCheckpoint: it cannot be read.
    """
    path, info = checkpoints.path(step), checkpoints.info(step)
    differing = config_lib.differences(info.config, run.config_json)
    differing += checkpoints.differing_parameters(step, run.network.shapes)
    fix = (
        "use another --workdir and mirror, start over in a new sub-folder with "
        f"--config.restart=True (to begin with these weights: --config.init_from={run.workdir})"
    )
    if differing:
        raise WSignError(
            f"{path} belongs to a run with other settings; {fix}, or set these back\n  "
            + "\n  ".join(differing)
        )
    setup.check_vocabulary(info.vocabulary, run.vocabulary, str(path))
    if info.data != run.fingerprint:
        raise WSignError(f"{path}: the training data changed since; restore it, or {fix}")
    return info


def _bring_from_mirror(run: Run, mirror: Mirror | None) -> None:
    """Copies home what it lacks of the mirror, all of which must be this run's, or unreadable."""
    with multihost.all_or_none():  # the others wait for the first, which has the mirror
        if mirror is None or not mirror.steps:
            return
        copies = Checkpoints(mirror.root)
        ours, strange = [], []
        for step in mirror.steps:
            try:
                resumable(run, copies, step)
                ours.append(step)
            except checkpoint.DamagedCheckpoint as error:
                print(f"warning: {error}; left alone", flush=True)
                strange.append(step)
        mirror.know(ours, strange)
        at_home = home.steps_in(run.workdir / home.FOLDER)
        if {*ours} - {*at_home}:
            print(f"restoring {run.workdir} from {mirror.root}", flush=True)
            mirror.bring_home()


def initial_params(run: Run) -> Callable[[], Params]:
    """Finds and checks the weights that `init_from` names.

    Returns:
        What loads them, or makes fresh ones, and says which.

    Raises:
        WSignError: no checkpoint there, another vocabulary, other positions or normalisation, or
            parameters of another shape; or no Whisper that fits.
    """
    config = run.config
    source = origin.source(config, run.workdir)
    before = origin.of_the_stage_before(config, run.workdir)
    if config.init_from == "auto" and before and not source:
        print(f"there is no {before.name} run in {before}", flush=True)
    if not source:
        return functools.partial(fresh_params, run)
    if source.startswith(origin.WHISPER):
        whisper, named = imported.find(run, source.removeprefix(origin.WHISPER))
        return functools.partial(imported.put, run, whisper, named)
    folder = pathlib.Path(source)
    if not home.has_checkpoint(folder):
        raise WSignError(
            f"config.init_from: {folder} holds no checkpoint; name a run's folder, "
            "or start fresh with --config.init_from=''"
        )
    other = checkpoint.Checkpoints(folder)
    step = other.best_step
    info = other.info(step)
    setup.check_vocabulary(info.vocabulary, run.vocabulary, str(folder))
    for block, field in (("data", "wrist_place"), ("model", "positions")):
        theirs, ours = info.config[block][field], config[block][field]
        if theirs != ours:
            raise WSignError(
                f"config.{block}.{field} is {ours!r}, but {folder} was trained with {theirs!r}; set it "
                "alike"
            )

    def load() -> Params:
        weights = other.restore_weights(step, run.network.shapes)
        print(f"starting from the weights of {other.path(step)}", flush=True)
        return weights

    return load


def fresh_params(run: Run) -> Params:
    """Weights from the seed, on the devices; says so."""
    print("starting from fresh weights", flush=True)
    return whisper_sign.init(run.network.shapes, run.config.training.seed)

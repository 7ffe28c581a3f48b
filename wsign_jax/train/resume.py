"""Goes on with a run: from its own checkpoint, in the workdir or the mirror, or in a new folder."""

import dataclasses
import itertools
import os
import pathlib

import jax
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.runtime import multihost
from wsign_jax.train import config_schema
from wsign_jax.train.checkpoint import store
from wsign_jax.train.checkpoint.mirror import Mirror
from wsign_jax.train.checkpoint.run_info import RunInfo, check_vocabulary
from wsign_jax.train.checkpoint.store import Checkpoints
from wsign_jax.train.checkpoint.workdir import (
    CHECKPOINTS,
    RESTART,
    keep_logs,
    make_run_folder,
    steps_in,
)
from wsign_jax.train.run import Run, stage_shapes
from wsign_jax.train.sharding import replicated
from wsign_jax.train.state import LossScale, TrainState


@dataclasses.dataclass(frozen=True)
class ResumedRun:
    """A run's own checkpoint, loaded."""

    step: int
    info: RunInfo
    state: TrainState


def start_over(config: ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Makes the first free folder of `<workdir>/restart_1`, `restart_2`, ... to start over in.

    Returns:
        The flags that send the run to this folder, and its mirror to a folder of its own. They come
        last on the command line, so that they override what was typed.

    Raises:
        WSignError: a config value out of range, or several processes, each of which would take a
            folder of its own.
    """
    config_schema.check_config(config)
    if jax.process_count() > 1:
        raise WSignError("config.restart is for one process; name another --workdir to all of them")
    files.make_folder(workdir)
    mirror = config.checkpoint.mirror and pathlib.Path(config.checkpoint.mirror)
    for number in itertools.count(1):
        folder = workdir / f"{RESTART}{number}"
        mirrored = mirror and mirror.with_name(f"{mirror.name}_{folder.name}")
        if mirrored and mirrored.exists():  # made by another machine, which may be gone
            continue
        if not os.path.lexists(folder) and make_run_folder(folder):
            break
    flags = [f"--workdir={folder}", "--config.restart=False"]
    if mirrored:
        flags.append(f"--config.checkpoint.mirror={mirrored}")
    print(f"starting over in {folder}", flush=True)
    return flags


def resume(run: Run, checkpoints: Checkpoints, mirror: Mirror | None) -> ResumedRun | None:
    """Loads the newest whole checkpoint of this run; returns None if it has not saved any.

    In that case, logs that an earlier run has left are renamed. Checkpoints that only the mirror has are
    copied to the workdir first. If the mirror has a copy of a damaged checkpoint, the damaged one is
    moved aside and replaced. Other damaged ones are passed over and, once a whole one is found, moved
    aside. A warning names each.

    Raises:
        WSignError: a checkpoint is of a run with other settings or data, or all are damaged.
    """
    _bring_from_mirror(run, mirror)
    multihost.check_same(str(checkpoints.steps), f"the checkpoints in {run.workdir}")
    damaged: list[store.DamagedCheckpoint] = []
    for step in reversed(checkpoints.steps):
        found = _load(run, checkpoints, step)
        if isinstance(found, store.DamagedCheckpoint) and multihost.any_of_all(
            mirror is not None and mirror.has(step)
        ):
            print(f"warning: {found}; moved to {checkpoints.set_aside(step)}", flush=True)
            _bring_from_mirror(run, mirror)
            found = _load(run, checkpoints, step)
        if isinstance(found, store.DamagedCheckpoint):
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
        if multihost.is_first() and (kept := keep_logs(run.workdir)):
            print(kept, flush=True)
    return None


def _load(run: Run, checkpoints: Checkpoints, step: int) -> ResumedRun | store.DamagedCheckpoint:
    try:
        info = check_resumable(run, checkpoints, step)
        saved = run.config.training.copy_and_resolve_references()
        saved.precision = info.config["training"]["precision"]
        like = stage_shapes(run.network, saved, run.stages[info.stage].labels)
        state = checkpoints.restore(step, like)
    except store.DamagedCheckpoint as error:
        return error
    return ResumedRun(step, info, _change_precision(run, state, saved.precision))


def _change_precision(run: Run, state: TrainState, before: str) -> TrainState:
    """Returns a state for the run's precision, which another device may have chosen otherwise."""
    now = run.config.training.precision
    if now == before:
        return state
    print(f"config.training.precision: was {before}, is {now} from here on", flush=True)
    scale = LossScale.at(run.config.training.loss_scale) if now == "float16" else None
    return state.replace(loss_scale=jax.device_put(scale, replicated(run.network.mesh)))


def check_resumable(run: Run, checkpoints: Checkpoints, step: int) -> RunInfo:
    """Returns what the checkpoint at `step` says; checks that this run can go on from it.

    Raises:
        WSignError: config, parameters, vocabulary or training data differ; names what differs.
        DamagedCheckpoint: it cannot be read.
    """
    path, info = checkpoints.path(step), checkpoints.info(step)
    differing = config_schema.config_differences(info.config, run.config_json)
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
    check_vocabulary(info.vocabulary, run.vocabulary, str(path))
    if info.data != run.fingerprint:
        raise WSignError(f"{path}: the training data changed since; restore it, or {fix}")
    return info


def _bring_from_mirror(run: Run, mirror: Mirror | None) -> None:
    """Copies the mirror's checkpoints that the workdir lacks; all must be this run's or unreadable."""
    with multihost.all_or_none():  # the others wait for the first, which has the mirror
        if mirror is None or not mirror.steps:
            return
        copies = Checkpoints(mirror.root)
        ours, strange = [], []
        for step in mirror.steps:
            try:
                check_resumable(run, copies, step)
                ours.append(step)
            except store.DamagedCheckpoint as error:
                print(f"warning: {error}; left alone", flush=True)
                strange.append(step)
        mirror.note_steps(ours, strange)
        at_home = steps_in(run.workdir / CHECKPOINTS)
        if {*ours} - {*at_home}:
            print(f"restoring {run.workdir} from {mirror.root}", flush=True)
            mirror.bring_home()

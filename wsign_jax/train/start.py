"""Where a run begins: its own checkpoint in the workdir, else another run's weights, else fresh ones."""

import pathlib

import jax
from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import checkpoint, setup
from wsign_jax.train.setup import Run


def resumable(run: Run, checkpoints: checkpoint.Checkpoints, step: int) -> checkpoint.RunInfo:
    """What the checkpoint at `step` says, once it is sure that this run can go on from it.

    Raises:
        WSignError: config, parameters, vocabulary or training data are others; names what differs.
    """
    path, info = checkpoints.path(step), checkpoints.info(step)
    differing = config_lib.differences(info.config, config_lib.as_json(run.config))
    differing += checkpoints.differing_parameters(step, run.network.shapes)
    if differing:
        raise WSignError(
            f"{path} belongs to a run with other settings; use another --workdir (to go on from its "
            f"weights: --config.init_from={run.workdir}), or set these back\n  "
            + "\n  ".join(differing)
        )
    setup.check_vocabulary(info.vocabulary, run.vocabulary, str(path))
    if info.data != setup.fingerprint(run.train):
        raise WSignError(
            f"{path}: the training data changed since; restore it, or use another --workdir "
            f"with --config.init_from={run.workdir}"
        )
    return info


def initial_params(run: Run) -> Params:
    """The weights that `init_from` names, or fresh ones; says which.

    Raises:
        WSignError: no checkpoint there, another vocabulary, or parameters of another shape.
    """
    source = run.config.init_from
    if source == "auto":
        source = _run_of_the_stage_before(run.config, run.workdir)
    if not source:
        print("starting from fresh weights", flush=True)
        return fresh_params(run)
    folder = pathlib.Path(source)
    if not checkpoint.has_checkpoint(folder):
        raise WSignError(
            f"config.init_from: {folder} holds no checkpoint; name a run's folder, "
            "or start fresh with --config.init_from=''"
        )
    other = checkpoint.Checkpoints(folder)
    step = other.best_step
    info = other.info(step)
    setup.check_vocabulary(info.vocabulary, run.vocabulary, str(folder))
    if info.config["data"]["wrist_place"] != run.config.data.wrist_place:
        raise WSignError(
            f"config.data.wrist_place is {run.config.data.wrist_place}, but {folder} was trained "
            "with the other; set it alike"
        )
    weights = other.restore_weights(step, run.network.shapes)
    print(f"starting from the weights of {other.path(step)}", flush=True)
    return weights


def fresh_params(run: Run) -> Params:
    """Weights from the seed, on the devices."""
    config, shapes = run.config, run.network.shapes
    shardings = jax.tree.map(lambda x: x.sharding, shapes)
    return whisper_sign.init(config.model, len(run.vocabulary), config.training.seed, shardings)


def _run_of_the_stage_before(config: ConfigDict, workdir: pathlib.Path) -> str:
    """The folder beside this run's that has the name of the stage before; '' where there is none."""
    known = sorted(
        name for name, block in config.items() if isinstance(block, ConfigDict) and "rules" in block
    )
    position = known.index(config.stages[0])
    if position == 0:
        return ""
    folder = workdir.absolute().parent / known[position - 1]
    if checkpoint.has_checkpoint(folder):
        return str(folder)
    print(f"there is no {known[position - 1]} run in {folder}", flush=True)
    return ""

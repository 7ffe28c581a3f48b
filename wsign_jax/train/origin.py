"""What a run goes on from or begins with, before any of it is loaded; and what follows for the model."""

import contextlib
import pathlib
import re

from ml_collections import ConfigDict

from wsign_jax.train.checkpoint import Checkpoints, DamagedCheckpoint
from wsign_jax.train.home import has_checkpoint

WHISPER = "whisper:"  # of `init_from`, before a folder or a name on the Hugging Face Hub
RESTART = "restart_"
INIT = "init.json"  # in a run's folder: what its weights were imported from


def source(config: ConfigDict, workdir: pathlib.Path) -> str:
    """`init_from` with 'auto' resolved to the folder of the run of the stage before, beside this one's;
    '' where there is none."""
    if config.init_from != "auto":
        return config.init_from
    folder = of_the_stage_before(config, workdir)
    return str(folder) if folder and has_checkpoint(folder) else ""


def of_the_stage_before(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path | None:
    """The folder beside this run's that has the name of the stage before; None for the first stage."""
    known = sorted(
        name for name, block in config.items() if isinstance(block, ConfigDict) and "rules" in block
    )
    position = known.index(config.stages[0])
    if position == 0:
        return None
    home = workdir.absolute()
    if re.fullmatch(rf"{RESTART}\d+", home.name):
        home = home.parent
    return home.parent / known[position - 1]


def settle_positions(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
    """The config with 'auto' positions made those of the weights that the run goes on from or begins
    with; rotary where they are fresh.

    Nothing in the shapes of parameters tells positions apart, so weights take theirs along: what a
    checkpoint holds is always settled.
    """
    if config.model.positions != "auto":
        return config
    config = config.copy_and_resolve_references()
    begins_with = source(config, workdir)
    own = [workdir, *map(pathlib.Path, filter(None, [config.checkpoint.mirror]))]
    positions = next(filter(None, map(_positions_of, own)), None)
    if positions is None and begins_with.startswith(WHISPER):
        positions = "sinusoidal"
        print(
            f"config.model.positions: {positions}, as in Whisper; to have others: "
            "--config.model.positions=rotary",
            flush=True,
        )
    elif positions is None and begins_with:
        positions = _positions_of(pathlib.Path(begins_with))
    config.model.positions = positions or "rotary"
    return config


def _positions_of(run: pathlib.Path) -> str | None:
    """Those of a run's newest checkpoint that can be read; None where there is none."""
    checkpoints = Checkpoints(run)
    for step in reversed(checkpoints.steps):
        with contextlib.suppress(DamagedCheckpoint):
            return checkpoints.info(step).config["model"]["positions"]
    return None

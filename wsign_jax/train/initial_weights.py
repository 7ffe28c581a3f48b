"""The weights that a run begins with: another run's, Whisper's or fresh ones."""

import contextlib
import functools
import math
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign, whisper_weights
from wsign_jax.model.whisper_sign import (
    Params,
    group_of,
    layer_paths,
    parameter_paths,
    unstack_params,
)
from wsign_jax.model.whisper_weights import Whisper
from wsign_jax.runtime import multihost
from wsign_jax.train.checkpoint.checksums import checksums_of_arrays
from wsign_jax.train.checkpoint.run_info import RunInfo, check_vocabulary
from wsign_jax.train.checkpoint.store import Checkpoints, DamagedCheckpoint
from wsign_jax.train.checkpoint.workdir import INIT, RESTART, has_checkpoint

if TYPE_CHECKING:
    from wsign_jax.train.run import Run

WHISPER = "whisper:"  # in `init_from`, before a folder or a name on the Hugging Face Hub


def resolved_init_from(config: ConfigDict, workdir: pathlib.Path) -> str:
    """Returns `init_from`, with 'auto' resolved to the folder of the previous stage's run.

    That folder lies beside this run's; the result is '' if it is missing or without a checkpoint.
    """
    if config.init_from != "auto":
        return config.init_from
    folder = previous_run(config, workdir)
    return str(folder) if folder and has_checkpoint(folder) else ""


def previous_run(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path | None:
    """The folder beside this run's with the name of the previous stage; None for the first stage."""
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
    """Returns the config, with 'auto' positions replaced by those of the run's weights.

    They are the weights that the run goes on from or begins with; fresh weights get rotary positions.
    The shapes of parameters do not tell positions apart, so weights take theirs along: the config in a
    checkpoint never says 'auto'.
    """
    if config.model.positions != "auto":
        return config
    config = config.copy_and_resolve_references()
    begins_with = resolved_init_from(config, workdir)
    own = saved_config(config, workdir)
    positions = own and own["model"]["positions"]
    if positions is None and begins_with.startswith(WHISPER):
        positions = "sinusoidal"
        print(
            f"config.model.positions: {positions}, as in Whisper; to have others: "
            "--config.model.positions=rotary",
            flush=True,
        )
    elif positions is None and begins_with:
        first = _info_of(pathlib.Path(begins_with))
        positions = first and first.config["model"]["positions"]
    config.model.positions = positions or "rotary"
    return config


def saved_config(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any] | None:
    """The config in the newest checkpoint of the workdir, otherwise of the mirror; None without one."""
    info = saved_info(config, workdir)
    return None if info is None else info.config


def saved_info(config: ConfigDict, workdir: pathlib.Path) -> RunInfo | None:
    """The info in the newest checkpoint of the workdir, otherwise of the mirror; None without one."""
    own = [workdir, *map(pathlib.Path, filter(None, [config.checkpoint.mirror]))]
    return next(filter(None, map(_info_of, own)), None)


def _info_of(run: pathlib.Path) -> RunInfo | None:
    """The info in a run's newest checkpoint that can be read; None if all are unreadable."""
    checkpoints = Checkpoints(run)
    for step in reversed(checkpoints.steps):
        with contextlib.suppress(DamagedCheckpoint):
            return checkpoints.info(step)
    return None


def initial_params(run: "Run") -> Callable[[], Params]:
    """Finds and checks the weights that `init_from` names.

    Returns:
        A function that loads them, or makes fresh ones, and says which.

    Raises:
        WSignError: a checkpoint is missing, or has another vocabulary, other positions or
            normalization, or parameters of another shape; or Whisper is missing or does not fit.
    """
    config = run.config
    source = resolved_init_from(config, run.workdir)
    before = previous_run(config, run.workdir)
    if config.init_from == "auto" and before and not source:
        print(f"there is no {before.name} run in {before}", flush=True)
    if not source:
        return functools.partial(fresh_params, run)
    if source.startswith(WHISPER):
        whisper, named = find_whisper(run, source.removeprefix(WHISPER))
        return functools.partial(whisper_params, run, whisper, named)
    folder = pathlib.Path(source)
    if not has_checkpoint(folder):
        raise WSignError(
            f"config.init_from: {folder} holds no checkpoint; name a run's folder, "
            "or start fresh with --config.init_from=''"
        )
    other = Checkpoints(folder)
    step = other.best_step
    info = other.info(step)
    check_vocabulary(info.vocabulary, run.vocabulary, str(folder))
    for block, field in (("model", "wrist_place"), ("model", "positions")):
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


def fresh_params(run: "Run") -> Params:
    """Makes weights from the seed, on the devices, and says so."""
    print("starting from fresh weights", flush=True)
    return whisper_sign.init_params(run.config.model, run.network.shapes, run.config.training.seed)


# The files to take of a repository on the Hugging Face Hub; it may hold other frameworks' weights too.
_WANTED_FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)
_EMBEDDINGS, _NORM = "decoder/embed/embedding", "decoder/norm/scale"


def find_whisper(run: "Run", name: str) -> tuple[Whisper, dict[str, str]]:
    """Finds a checkpoint of Whisper that fits the run's model.

    `name` is a folder, or a repository on the Hugging Face Hub, which is downloaded once.

    Returns:
        The checkpoint, and the tensor of each parameter; see `whisper_weights.find_tensors`.

    Raises:
        WSignError: it is missing, damaged, or does not fit.
    """
    whisper = whisper_weights.open_whisper(whisper_folder(name))
    shapes = jax.eval_shape(unstack_params, run.network.shapes)
    config = run.config
    return whisper, whisper_weights.find_tensors(
        whisper, config.model.size, shapes, config.init_layers
    )


def whisper_params(run: "Run", whisper: Whisper, named: dict[str, str]) -> Params:
    """Loads Whisper's weights, and makes fresh ones for parameters that Whisper lacks.

    Prints what came from where, and writes it with a checksum of every group to `<workdir>/init.json`.

    Raises:
        WSignError: a file is damaged, or a tensor has NaN or infinity.
    """
    fresh = whisper_sign.init_params(run.config.model, run.network.shapes, run.config.training.seed)
    params = parameter_paths(fresh)
    loaded = dict(whisper_weights.load_tensors(whisper, named))
    for path, shape in parameter_paths(run.network.shapes).items():
        layers = layer_paths(path, shape)
        if layers[0] in named:
            value = np.stack([loaded.pop(layer) for layer in layers]).reshape(shape.shape)
            # Every process has the whole array, and lays its own part on its devices.
            params[path] = jax.make_array_from_callback(
                value.shape, shape.sharding, value.__getitem__
            )
    params[_EMBEDDINGS] = _scaled(params[_EMBEDDINGS], params[_NORM])
    whole = jax.tree.unflatten(jax.tree.structure(run.network.shapes), list(params.values()))
    groups = _groups(unstack_params(whole), named)
    width = max(map(len, groups))
    print(f"starting from the weights of Whisper in {whisper.root}")
    for name, group in groups.items():
        print(f"  {name:<{width}} {group['parameters']:>12,} parameters  {group['from']}")
    unused = {re.sub(r"\.\d+\..*", "", name) for name in whisper.tensors.keys() - {*named.values()}}
    print(f"  not taken: {', '.join(sorted(unused))}", flush=True)
    if multihost.is_first():
        files.write_json(run.workdir / INIT, {"init_from": f"{whisper.root}", "groups": groups})
    return whole


def _scaled(embeddings: jax.Array, norm: jax.Array) -> jax.Array:
    """Scales fresh (V, D) gloss embeddings so that logits are as large as with a fresh (D,) norm.

    Logits are the final norm's output times the embeddings. Whisper's norm has weights of 9 on average,
    a fresh one has 1: without the scaling, the attention loss would begin at 150 instead of 12.
    """
    return embeddings / jnp.sqrt(jnp.mean(jnp.square(norm)))


def _groups(params: dict[str, jax.Array], named: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The number of parameters of every group, their source and a checksum."""
    members: dict[str, dict[str, jax.Array]] = {}
    for path, leaf in params.items():
        members.setdefault(group_of(path), {})[path] = leaf
    checksums = checksums_of_arrays(members)
    groups = {}
    for group, leaves in members.items():
        name = named.get(next(iter(leaves)))
        stem = name and re.match(r"\w+\.(layers\.\d+|layer_norm)", name)
        groups[group] = {
            "from": stem[0] if stem else "fresh",
            "parameters": sum(math.prod(leaf.shape) for leaf in leaves.values()),
            "checksum": f"{checksums[group]:08x}",
        }
    return groups


def whisper_folder(name: str) -> pathlib.Path:
    """Returns the folder `name`, or the one that the repository of that name is downloaded to.

    Raises:
        WSignError: the folder is missing, and the repository cannot be downloaded.
    """
    path = pathlib.Path(name)
    if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return path
    try:
        import huggingface_hub  # noqa: PLC0415 (an extra)
    except ImportError:
        raise WSignError(
            f"config.init_from: there is no folder {name}; to download it from the Hugging Face Hub, if "
            "that is where it is: pip install huggingface_hub"
        ) from None
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(name, allow_patterns=[*_WANTED_FILES])
        )
    except Exception as error:  # from several libraries, without a common base class
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise WSignError(
            f"config.init_from: there is no folder {name}, and it cannot be downloaded from the Hugging "
            f"Face Hub ({reason}); bring a copy and name it, --config.init_from={WHISPER}DIR"
        ) from None

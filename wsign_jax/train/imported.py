"""A start from Whisper's own weights: found, put among fresh ones, and accounted for."""

import math
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign, whisper_weights
from wsign_jax.model.whisper_sign import Params, group_of, parameter_paths
from wsign_jax.model.whisper_weights import Whisper
from wsign_jax.runtime import multihost
from wsign_jax.train import digests
from wsign_jax.train.origin import INIT, WHISPER
from wsign_jax.train.setup import Run

# Of a repository on the Hugging Face Hub; it may hold other frameworks' weights too.
_WANTED = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)

_EMBEDDINGS = "decoder/embed/embedding"
_NORM = "decoder/norm/scale"


def find(run: Run, name: str) -> tuple[Whisper, dict[str, str]]:
    """A checkpoint of Whisper that fits the run's model.

    Args:
        run: the run.
        name: a folder, or a repository on the Hugging Face Hub, which is downloaded once.

    Returns:
        The checkpoint, and which of its tensors each parameter comes from (`whisper_weights.sources`).

    Raises:
        WSignError: there is none, it is damaged, or it does not fit.
    """
    whisper = whisper_weights.open_whisper(folder(name))
    shapes = parameter_paths(run.network.shapes)
    config = run.config
    return whisper, whisper_weights.sources(whisper, config.model.size, shapes, config.init_layers)


def put(run: Run, whisper: Whisper, named: dict[str, str]) -> Params:
    """Loads Whisper's weights, and fresh ones where it has none; prints what came from where, and writes
    it with a checksum of every group into `<workdir>/init.json`.

    Args:
        run: the run.
        whisper: the checkpoint.
        named: which of its tensors each parameter comes from.

    Raises:
        WSignError: a file is damaged, or a tensor has NaN or infinity.
    """
    shapes = parameter_paths(run.network.shapes)
    params: dict[str, jax.Array] = {
        path: whisper_sign.lay_out(value, shapes[path].sharding)
        for path, value in whisper_weights.load(whisper, named)
    }
    new = {path: shape for path, shape in shapes.items() if path not in named}
    params |= whisper_sign.init(new, run.config.training.seed)
    params[_EMBEDDINGS] = _scaled(params[_EMBEDDINGS], params[_NORM])
    params = {path: params[path] for path in shapes}
    groups = _groups(params, named)
    width = max(map(len, groups))
    print(f"starting from the weights of Whisper in {whisper.root}")
    for name, group in groups.items():
        print(f"  {name:<{width}} {group['parameters']:>12,} parameters  {group['from']}")
    unused = {re.sub(r"\.\d+\..*", "", name) for name in whisper.tensors.keys() - {*named.values()}}
    print(f"  not taken: {', '.join(sorted(unused))}", flush=True)
    if multihost.is_first():
        files.write_json(run.workdir / INIT, {"init_from": f"{whisper.root}", "groups": groups})
    structure = jax.tree.structure(run.network.shapes)
    return jax.tree.unflatten(structure, list(params.values()))


def _scaled(embeddings: jax.Array, norm: jax.Array) -> jax.Array:
    """Fresh (V, D) gloss embeddings, for logits of the scale that they have from a fresh (D,) norm.

    Logits are the final norm's output times the embeddings, and Whisper's norm has weights of 9 on
    average where a fresh one has 1: the attention loss would begin at 150 instead of 12.
    """
    return embeddings / jnp.sqrt(jnp.mean(jnp.square(norm)))


def _groups(params: dict[str, jax.Array], named: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Of every group its parameters' number, their source and a checksum."""
    members: dict[str, dict[str, jax.Array]] = {}
    for path, leaf in params.items():
        members.setdefault(group_of(path), {})[path] = leaf
    checksums = digests.of_arrays(members)
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


def folder(name: str) -> pathlib.Path:
    """The folder of that name, or of what was downloaded under it.

    Raises:
        WSignError: it is neither, or cannot be downloaded.
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
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=[*_WANTED]))
    except Exception as error:  # of several libraries, with no common exception
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise WSignError(
            f"config.init_from: there is no folder {name}, and it cannot be downloaded from the Hugging "
            f"Face Hub ({reason}); bring a copy and name it, --config.init_from={WHISPER}DIR"
        ) from None

"""From a trained run to a file that recognises without the network's code; see `exported.py`."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax import exported, positions, running
from wsign_jax.choices import choose
from wsign_jax.decode.decoders import GREEDY, Search
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.recognition import Settings
from wsign_jax.trained import Trained

PLATFORMS = ("cpu", "cuda", "tpu")
_UNREAD = "decoder/"  # parameters that greedy CTC decoding never asks


def export(trained: Trained, path: pathlib.Path, about: dict[str, Any]) -> None:
    """Writes a run as one file.

    Args:
        trained: the run, in float32.
        path: of the file.
        about: what else the file says of itself.
    """
    settings = running.settings(trained)
    parameters = {
        name: np.asarray(value)
        for name, value in whisper_sign.parameter_paths(trained.params).items()
        if not name.startswith(_UNREAD)
    }
    exported.write(
        path,
        settings,
        trained.vocabulary,
        choose(trained, GREEDY).temperature,
        parameters,
        program(trained, settings),
        about,
    )


def program(trained: Trained, settings: Settings) -> bytes:
    """The run's greedy decoding, serialised, for every platform, batch size and number of patches."""
    recognise = running.make_recognise(trained.network.graph, Search(GREEDY))
    shapes = whisper_sign.parameter_paths(trained.network.shapes)
    structure = jax.tree.structure(trained.network.shapes)
    shape = jax.ShapeDtypeStruct
    read = {
        name: shape(leaf.shape, leaf.dtype)
        for name, leaf in shapes.items()
        if not name.startswith(_UNREAD)
    }

    def step(
        parameters: dict[str, jax.Array],
        features: jax.Array,
        frames: jax.Array,
        window: running.Window,
        tables: tuple[jax.Array, ...],
    ) -> tuple[jax.Array, ...]:
        # What is not read leaves nothing in the program.
        leaves = [parameters.get(n, jnp.zeros(x.shape, x.dtype)) for n, x in shapes.items()]
        params = jax.tree.unflatten(structure, leaves)
        weights = choose(trained, GREEDY).weights
        return exported.flatten(recognise(params, features, frames, window, weights, tables=tables))

    batch, patches = jax.export.symbolic_shape("b, n")
    tables = positions.tables(settings.positions, 1, settings.width, settings.head_width)
    whole_number = shape((), jnp.int32)
    arguments = (
        read,
        shape(
            (batch, settings.patch_size * patches, joints.NUM_JOINTS, joints.NUM_FEATURES),
            jnp.float32,
        ),
        shape((batch,), jnp.int32),
        (whole_number, whole_number),
        tuple(shape((patches, table.shape[1]), jnp.float32) for table in tables),
    )
    return bytes(jax.export.export(jax.jit(step), platforms=PLATFORMS)(*arguments).serialize())

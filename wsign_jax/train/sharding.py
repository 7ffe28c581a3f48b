"""The mesh of devices, and where parameters and batches lie on it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from wsign_jax.data.pipeline import Batch
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import param_rules

# The data room does not know JAX, so a batch becomes a tree of arrays here, where it comes to devices.
jax.tree_util.register_dataclass(
    Batch,
    data_fields=[field.name for field in dataclasses.fields(Batch) if field.name != "length"],
    meta_fields=["length"],
)

REPLICATE, SHARD = "replicate", "shard"


def make_mesh() -> Mesh:
    """Makes a mesh of one axis, `data`, over all devices of all processes, even if there is only one."""
    return Mesh(np.array(jax.devices()), ("data",))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The sharding in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def place_params(
    shapes: Params, rules: Sequence[tuple[str, str]], mesh: Mesh | AbstractMesh
) -> Params:
    """Adds its sharding to each parameter's shape: replicated, or a part on each device (FSDP).

    A sharded parameter is cut along the largest axis that the number of devices divides. A parameter
    without such an axis is replicated. `rules` is `config.training.sharding`.

    Raises:
        WSignError: the rules do not fit the parameters.
    """

    def placed(x: jax.ShapeDtypeStruct, action: str) -> jax.ShapeDtypeStruct:
        axes = [axis for axis, size in enumerate(x.shape) if size % mesh.size == 0]
        if action == REPLICATE or not axes:
            sharding = replicated(mesh)
        else:
            largest = max(axes, key=lambda axis: x.shape[axis])
            sharding = NamedSharding(mesh, PartitionSpec(*[None] * largest, "data"))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(
        placed,
        shapes,
        param_rules.apply_rules(shapes, rules, (REPLICATE, SHARD), "training.sharding"),
    )


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts a process's rows of a batch on the devices: the arrays' rows are spread over the mesh."""
    sharding = by_rows(mesh)
    if jax.process_count() == 1:  # all arrays in one call, which takes half the time
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def by_rows(mesh: Mesh) -> NamedSharding:
    """The sharding in which each device holds its share of the rows."""
    return NamedSharding(mesh, PartitionSpec("data"))

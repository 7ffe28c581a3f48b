"""Everything about a run that changes from step to step, and its place on the devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from wsign_jax.data.lengths import source_length
from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train.sharding import by_rows, replicated


class LossScale(struct.PyTreeNode):
    """Dynamic loss scaling for float16 (Micikevicius et al. 2018, arXiv:1710.03740)."""

    scale: jax.Array  # float32
    good_steps: jax.Array  # int32 since the last overflow or growth
    skipped: jax.Array  # int32 steps of the stage that overflowed and changed nothing

    @classmethod
    def at(cls, scale: float) -> "LossScale":
        """The scaling that a stage begins with."""
        return cls(
            jnp.asarray(scale, jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        )


class TrainState(struct.PyTreeNode):
    """A training run between two steps."""

    step: jax.Array  # int32, global: never restarts
    params: Params
    opt_state: optax.OptState  # fresh in each stage
    ema: Params | None  # moving average of params, if training.ema is on
    loss_scale: LossScale | None  # if training.precision is float16

    @property
    def evaluated(self) -> Params:
        """The weights to evaluate: the moving average if there is one."""
        return self.params if self.ema is None else self.ema


def create_state(
    params: Params,
    tx: optax.GradientTransformation,
    step: int,
    *,
    ema: bool,
    loss_scale: float | None,
) -> TrainState:
    """The state at the start of a stage; a `loss_scale` of None does not scale the loss."""
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params=params,
        opt_state=tx.init(params),
        # A copy: the step donates its state, and one buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, params) if ema else None,
        loss_scale=None if loss_scale is None else LossScale.at(loss_scale),
    )


CreateState = Callable[[Params], TrainState]  # `create_state` with all but `params` given


def create_placed_state(make: CreateState, params: Params, shapes: Params) -> TrainState:
    """Creates a state on devices: moments and averages lie where `shapes` puts their parameter."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(make, shapes))
    return jax.jit(make, out_shardings=shardings)(params)


@jax.jit
def copy_state(state: TrainState) -> TrainState:
    """Copies a state, because the next step may take over the arrays of the original."""
    return jax.tree.map(jnp.copy, state)


def abstract_state(make: CreateState, shapes: Params) -> TrainState:
    """The shapes, dtypes and shardings of such a state, which a checkpoint is loaded to.

    An array has the sharding of its parameter, which `place_params` chose; without one it is replicated.
    """
    by_path = {
        tuple(path): leaf.sharding for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]
    }
    everywhere = replicated(next(iter(by_path.values())).mesh)

    def placed(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        # The path of a moment or an average ends with its parameter's.
        tails = (path[start:] for start in range(len(path)))
        sharding = next((by_path[tail] for tail in tails if tail in by_path), everywhere)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(placed, jax.eval_shape(make, shapes))


def batch_shapes(
    rows: int, frames: int, glosses: int, mesh: Mesh | None = None, speed: float = 0.0
) -> Batch[jax.ShapeDtypeStruct]:
    """The shapes of a global batch of B rows, T frames and at most U glosses.

    `put_batch` spreads it over `mesh`; None leaves the sharding open. A training batch has the `speed`
    of `data.augment`.
    """
    sharding = None if mesh is None else by_rows(mesh)

    def shape(*sizes: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)

    source = source_length(frames, speed)
    return Batch(
        positions=shape(rows, source, joints.NUM_JOINTS, 3, dtype=jnp.float32),
        confidence=shape(rows, source, len(joints.HANDS), dtype=jnp.float32),
        source_frames=shape(rows),
        frames=shape(rows),
        labels=shape(rows, glosses),
        label_lengths=shape(rows),
        example=shape(rows),
        epoch=shape(rows),
        length=frames,
    )

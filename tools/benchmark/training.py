"""A training step of stage 2, in which everything trains, with PHOENIX-2014's vocabulary."""

import math
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tools.benchmark import phoenix
from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import stages
from wsign_jax.train.run import Network, stage_shapes, stage_state
from wsign_jax.train.state import TrainState, batch_shapes, create_placed_state
from wsign_jax.train.step import make_train_step

STAGE = "stage2"
VOCAB_SIZE = phoenix.GLOSSES + 1
MAX_GLOSSES = 28  # in a training sentence of PHOENIX-2014; all labels are padded to it


class Training:
    """The things that a step needs; they are compiled or allocated only when they are asked for.

    Args:
        config: the run's.
        network: from `run.make_network` for it and `VOCAB_SIZE`.
    """

    def __init__(self, config: ConfigDict, network: Network):
        stage = config[STAGE]
        self.config, self.network = config, network
        self.settings = stages.step_settings(stage, config.training, 0, 0, 1)
        self._labels = stages.label_parameters(network.shapes, stage.rules, STAGE)

    def shapes(self) -> TrainState:
        """The shapes of the state, with its sharding."""
        return stage_shapes(self.network, self.config.training, self._labels)

    def state(self, params: Params) -> TrainState:
        """A stage's first state, on the devices."""
        create = stage_state(self.config.training, self._labels, step=0)
        return create_placed_state(create, params, self.network.shapes)

    def step(self) -> jax.stages.Wrapped:
        """The step, as training compiles it."""
        return make_train_step(
            self.network.graph,
            self._labels,
            self.config.training,
            self.config.data.augment,
            hybrid=True,
            shardings=jax.tree.map(lambda x: x.sharding, self.shapes()),
        )


def operations(jaxpr: Any) -> float:
    """Counts floating-point operations of matrix products, as often as a loop computes them.

    XLA's own count takes a loop for a single turn of it. `jaxpr` is that of `jax.stages.Traced`.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _), left = (
                equation.params["dimension_numbers"],
                equation.invars[0].aval,
            )
            inner = math.prod(left.shape[axis] for axis in contracted)
            total += 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
        parameters = jax.tree.leaves(
            [*equation.params.values()], is_leaf=lambda x: hasattr(x, "eqns")
        )
        within = [operations(inner) for inner in parameters if hasattr(inner, "eqns")]
        turns = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += turns * (
            max(within, default=0.0) if "branches" in equation.params else sum(within)
        )
    return total


def signing_batch(rows: int, frames: int, speed: float = 0.0) -> Batch[np.ndarray]:
    """Makes a batch of sentences; the shortest has four fifths of the longest's frames.

    Args:
        rows: B.
        frames: T.
        speed: `data.augment.speed`, for which there is room.
    """
    lengths = np.linspace(frames, frames * 4 // 5, rows).astype(np.int32)
    shapes = batch_shapes(rows, frames, MAX_GLOSSES, speed=speed)
    batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    batch.source_frames[:] = batch.frames[:] = lengths
    batch.example[:] = np.arange(rows)
    for row, length in enumerate(lengths.tolist()):
        raw = joints.positions_and_confidence(phoenix.signing(length, row))
        batch.positions[row, :length], batch.confidence[row, :length] = raw
        glosses = batch.label_lengths[row] = min(phoenix.glosses_in(length), MAX_GLOSSES)
        rng = np.random.default_rng(row)
        batch.labels[row, :glosses] = rng.integers(1, VOCAB_SIZE, glosses)
    return batch

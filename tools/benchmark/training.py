"""A training step of stage 2, in which everything trains, with PHOENIX-2014's vocabulary."""

import jax
import numpy as np
from ml_collections import ConfigDict

from tools.benchmark import phoenix
from wsign_jax.data.pipeline import Batch
from wsign_jax.keypoints import joints
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import stages
from wsign_jax.train.run import Network, stage_shapes, stage_state
from wsign_jax.train.state import TrainState, create_placed_state
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
            hybrid=True,
            shardings=jax.tree.map(lambda x: x.sharding, self.shapes()),
        )


def random_batch(rows: int, frames: int) -> Batch:
    """Makes a batch (B, T) without masked frames; a step's time depends on its shape alone."""
    rng = np.random.default_rng(0)
    shape = (rows, frames, joints.NUM_JOINTS, joints.NUM_FEATURES)
    glosses = phoenix.glosses_in(frames)
    labels = np.zeros((rows, MAX_GLOSSES), np.int32)
    labels[:, :glosses] = rng.integers(1, VOCAB_SIZE, (rows, glosses))
    return Batch(
        features=rng.normal(size=shape).astype(np.float32),
        frames=np.full(rows, frames, np.int32),
        labels=labels,
        label_lengths=np.full(rows, glosses, np.int32),
        example=np.arange(rows, dtype=np.int32),
    )

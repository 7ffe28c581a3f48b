"""python -m tools.benchmark.paper [--size=base --rows=16 --frames=480]

Calculates a training step of stage 2 on accelerators that are not at hand. Floating-point operations
are as XLA counts them before it optimizes. Bytes are those of the state (weights read forwards and
backwards, gradients written and read twice, weights and moments updated) and those that the backward
pass keeps in 16 bits (`wsign_jax/train/memory.py`; each array and its gradient written and read). A step
takes the longer of its operations at 40 % of the peak and its bytes at 70 % of the bandwidth. These are
assumptions, not measurements. They give a bound rather than an estimate: the start of small kernels, of
which CTC has many for each patch, is not counted. An epoch has PHOENIX-2014's 5672 sentences in an
accelerator's default buckets. Data is assumed to arrive in time, and validation is left out.
"""

import collections
import dataclasses

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from tools.benchmark import figures, phoenix, training
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data import buckets
from wsign_jax.train import config_schema, memory
from wsign_jax.train.run import ACCELERATOR_BUCKETS, make_network

_COMPUTE, _BANDWIDTH = 0.4, 0.7  # of the peaks


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """An accelerator, as its maker describes it."""

    name: str
    flops: float  # per second, in 16 bits
    bandwidth: float  # bytes per second


ACCELERATORS = (
    Accelerator("T4", 65e12, 320e9),
    Accelerator("A100 40 GB", 312e12, 1555e9),
    Accelerator("TPU v5e", 197e12, 819e9),
)


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of a step, on any machine."""

    flops: float
    bytes: float

    def seconds(self, accelerator: Accelerator) -> tuple[float, float]:
        """Seconds that the operations take, and seconds that the bytes take."""
        return (
            self.flops / (_COMPUTE * accelerator.flops),
            self.bytes / (_BANDWIDTH * accelerator.bandwidth),
        )


class Paper:
    """Counts the work of steps of one config."""

    def __init__(self, config: ConfigDict):
        network = make_network(config, training.VOCAB_SIZE)
        self._training = training.Training(config, network)
        self._rows = config[training.STAGE].batch_size
        self._step, self._state = self._training.step(), self._training.shapes()
        self._memory = memory.Estimator(config, training.VOCAB_SIZE, training.MAX_GLOSSES, 1)

    def step(self, frames: int) -> Work:
        """The work of a step with batches padded to so many frames."""
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            training.random_batch(self._rows, frames),
        )
        lowered = self._step.lower(self._state, batch, self._training.settings)
        fixed = self._memory.fixed(training.STAGE)
        state = 4 * fixed.parameters + 3 * fixed.gradients + 2 * (fixed.optimizer + fixed.ema)
        kept = self._memory.activations(training.STAGE, frames, parts=1, remat=False)
        return Work(lowered.flops, state + 4 * kept)


def config(size: str, rows: int) -> ConfigDict:
    """The config of the stage alone, in 16 bits."""
    made = base.get_config()
    made.model.size, made.training.precision = size, "bfloat16"
    made.stages, made[training.STAGE].batch_size = (training.STAGE,), rows
    config_schema.check(made)
    return made


def steps_an_epoch(config: ConfigDict) -> dict[int, int]:
    """How many steps have batches of each length."""
    lengths = phoenix.lengths()
    plans = buckets.plan_epoch(
        lengths,
        buckets.find_buckets(lengths, ACCELERATOR_BUCKETS),
        config[training.STAGE].batch_size,
        rng=np.random.default_rng(0),
    )
    return dict(sorted(collections.Counter(plan.bucket for plan in plans).items()))


def report(config: ConfigDict, frames: int) -> None:
    """Prints the work of a step and a table, in Markdown."""
    paper, steps = Paper(config), steps_an_epoch(config)
    work = paper.step(frames)
    print(
        f"A step of {config[training.STAGE].batch_size} x {frames} frames at {config.model.size} size: "
        f"{work.flops / 1e9:.0f} GFLOP, {work.bytes / 1e9:.1f} GB. An epoch: {sum(steps.values())} "
        f"steps of {', '.join(map(str, steps))} frames.\n"
    )
    epoch = [(count, paper.step(length)) for length, count in steps.items()]
    print("| | peak | bandwidth | operations | bytes | step | epoch |\n|" + " --- |" * 7)
    for accelerator in ACCELERATORS:
        operations, traffic = work.seconds(accelerator)
        seconds = sum(count * max(each.seconds(accelerator)) for count, each in epoch)
        print(
            f"| {accelerator.name} | {accelerator.flops / 1e12:.0f} TFLOP/s "
            f"| {accelerator.bandwidth / 1e9:.0f} GB/s | {1000 * operations:.0f} ms "
            f"| {1000 * traffic:.0f} ms | {1000 * max(operations, traffic):.0f} ms | {seconds:.0f} s |"
        )


def main() -> None:
    """Parses the flags."""
    parser = Parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(parser, rows=(16, "of a batch"), frames=(480, "of a row"))
    with exit_on_user_error():
        flags = parser.parse_args()
        report(config(flags.size, flags.rows), flags.frames)


if __name__ == "__main__":
    main()

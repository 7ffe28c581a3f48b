"""Our side of a comparison of training: the step of `wsign_jax.train.loop`, from fresh weights."""

import contextlib
import functools
import io
import pathlib
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import base
from tools.benchmark import batches
from tools.benchmark.training import operations
from wsign_jax.data import pipeline
from wsign_jax.model import whisper_sign
from wsign_jax.train import initial_weights, losses, sharding, stages
from wsign_jax.train.run import begin_stage, prepare_run, stage_step


class Ours:
    """Stage 2 on one data set: everything is trained, with the hybrid loss."""

    def __init__(self, root: pathlib.Path, size: str, batch_size: int):
        """Prepares a run.

        Args:
            root: a data set's folder; the run's folder is made beside it.
            size: of the model.
            batch_size: rows of a batch.
        """
        config = base.get_config()
        config.model.size = size
        config.data.dir = str(root)
        config.stages = ("stage2",)
        config.stage2.epochs = 1
        config.stage2.batch_size = batch_size
        # It prints the buckets of a few sentences; the measurements have buckets of their own.
        with contextlib.redirect_stdout(io.StringIO()):
            self.run = prepare_run(config, root.with_name("run"))
        (self.stage,) = self.run.stages
        self.state = begin_stage(self.run, self.stage, initial_weights.fresh_params(self.run), 0)
        stage = self.stage.config
        self.settings = stages.StepSettings(
            *map(np.float32, (stage.lr, stage.weight_decay, stage.alpha))
        )
        self._train_step = stage_step(self.run, self.stage)
        self._metrics: losses.Metrics | None = None

    def put(self, batch: pipeline.Batch) -> pipeline.Batch:
        """Puts a batch on the devices."""
        return sharding.put_batch(batch, self.run.network.mesh)

    def step(self, batch: pipeline.Batch) -> None:
        """Runs one step; as in the loop, the host waits for the metrics of the step before."""
        before = self._metrics
        self.state, self._metrics = self._train_step(self.state, self.put(batch), self.settings)
        jax.device_get(before)

    def wait(self) -> None:
        """Waits until the last step is done."""
        jax.block_until_ready((self.state, self._metrics))

    def steps(self, batch: pipeline.Batch, count: int) -> float:
        """Mean seconds of `count` steps on one batch, which is on the devices already."""
        began = time.perf_counter()
        for _ in range(count):
            self.step(batch)
        self.wait()
        return (time.perf_counter() - began) / count

    def flops(self, batch: pipeline.Batch) -> float:
        """Floating-point operations of a step's matrix products."""
        return operations(self._train_step.trace(self.state, batch, self.settings).jaxpr)

    def losses(self, batch: pipeline.Batch) -> tuple[float, ...]:
        """The loss without augmentation and dropout, its CTC part and its attention part."""
        training, graph = self.run.config.training, self.run.network.graph

        @jax.jit
        def evaluate(params: Any, batch: pipeline.Batch) -> losses.Metrics:
            model = whisper_sign.bind_params(graph, params)
            features = model.features(batch.positions, batch.confidence, batch.frames)
            smoothing = training.label_smoothing
            return losses.batch_loss(model, features, batch, self.settings, smoothing, hybrid=True)[
                1
            ]

        metrics = evaluate(self.state.params, batch)
        return tuple(float(metrics[name]) for name in ("loss", "ctc", "attention"))

    def compile(self, sample: batches.Sample) -> None:
        """Runs a step in every shape, so that all are compiled before the clock starts."""
        for plan in {plan.bucket: plan for plan in sample.plans}.values():
            self.step(self.stage.loader(plan))
        self.wait()

    def end_to_end(self, sample: batches.Sample) -> float:
        """Seconds per batch of an epoch: read, padded and trained on."""
        loader, threads = self.stage.loader, self.run.config.data.threads
        loaded = pipeline.load_ahead(loader, batches.going_on(sample.plans), threads)
        # Each step returns when the one before is done; before the first comes a step on the last batch.
        seconds = batches.clocked(loaded, self.step, len(sample.plans))
        self.wait()
        return seconds * sample.scale


def product_speed(size: int, repeats: int = 3) -> float:
    """Floating-point operations per second in a product of two square matrices, a median."""
    product, operands = _product(size)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(product(*operands))
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds)


@functools.cache
def _product(size: int) -> tuple[jax.stages.Compiled, tuple[jax.Array, ...]]:
    operands = tuple(jax.random.normal(jax.random.key(0), (2, size, size)))
    return jax.jit(jnp.dot).lower(*operands).compile(), operands

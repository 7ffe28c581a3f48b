"""Estimates a training step's memory on a device from shapes alone, without compiling or running it.

The arrays that the backward pass keeps are found by tracing `jax.vjp` of the very loss that a step
differentiates, so the estimate follows precision, rematerialization and what is frozen. Each device has
its own rows of a batch. It has the part of the parameters, and of all that has their shape, that
`training.sharding` gives it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import losses, optimizer, sharding, stages
from wsign_jax.train import state as train_state
from wsign_jax.train.run import check_rows

# JAX takes three quarters of a GPU's memory (XLA_PYTHON_CLIENT_MEM_FRACTION) and stays within that.
_USABLE = 0.75
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Fixed:
    """The bytes that a stage needs on each device, whatever its batches are."""

    parameters: int
    gradients: int  # of what trains
    optimizer: int
    ema: int


class Estimator:
    """Estimates the memory for the stages of one config.

    Args:
        config: a run's; its `training.accumulate` and `training.remat` are defaults only.
        vocab_size: V.
        glosses: U, the length of the longest label.
        devices: how many a batch's rows are spread over.

    Raises:
        WSignError: the devices do not divide a stage's batch, or its rules do not fit the model.
    """

    def __init__(self, config: ConfigDict, vocab_size: int, glosses: int, devices: int):
        self.config = config
        self.devices = devices
        self._glosses = glosses
        dtype = jnp.dtype(config.training.precision)
        self._graph, self._shapes = whisper_sign.build(config.model, vocab_size, dtype)
        mesh = AbstractMesh((devices,), ("data",))
        self._placed = sharding.place_params(self._shapes, config.training.sharding, mesh)
        self._labels = {}
        for name in config.stages:
            field, parts = f"{name}.batch_size", config.training.accumulate
            check_rows(config[name].batch_size, field, devices, parts)
            self._labels[name] = stages.label_parameters(self._shapes, config[name].rules, name)
        self._traced: dict[Any, tuple[int, ...]] = {}

    def fixed(self, stage: str) -> Fixed:
        """The bytes of a stage's state and its gradients."""
        labels, training = self._labels[stage], self.config.training
        tx = optimizer.make_optimizer(labels, stages.StepSettings(), training.grad_clip)

        def create(params: Params) -> train_state.TrainState:
            return train_state.create(params, tx, 0, ema=training.ema > 0, loss_scale=None)

        own = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.sharding.shard_shape(x.shape), x.dtype),
            train_state.abstract(create, self._placed),
        )
        return Fixed(
            parameters=_bytes(own.params),
            gradients=_bytes(optimizer.trained_leaves(self._shapes, labels)),
            optimizer=_bytes(own.opt_state),
            ema=_bytes(own.ema),
        )

    def activations(self, stage: str, frames: int, parts: int, remat: bool) -> int:
        """The bytes on each device for batches, and for what lies between input and loss.

        Args:
            stage: its name.
            frames: T, the bucket.
            parts: how many parts a batch is worked through in.
            remat: whether the backward pass computes encoder layers again.
        """
        rows = self.config[stage].batch_size // self.devices
        kept = self._kept(stage, rows // parts, frames, remat)
        needed = sum(kept)
        if remat:
            # The backward pass computes one layer's share again before it can use it.
            whole = sum(self._kept(stage, rows // parts, frames, False))
            layers = jax.tree.leaves(self._shapes["encoder"]["blocks"])[0].shape[0]
            needed += (whole - needed) // layers
        # Gradients on their way back are as large as the arrays kept; two of the largest meet.
        needed += 2 * max(kept)
        # The next batch arrives while a step works on this one.
        return needed + 2 * _bytes(train_state.batch_shapes(rows, frames, self._glosses))

    def total(self, stage: str, frames: int, parts: int, remat: bool) -> int:
        """The bytes on each device at the peak of a step; for the arguments see `activations`."""
        fixed = self.fixed(stage)
        # With several parts, the sum of their gradients lies beside those of the current part.
        backward = fixed.gradients * min(parts, 2) + self.activations(stage, frames, parts, remat)
        # While it computes, a device gathers all parameters if it keeps only a part of them.
        whole = _bytes(self._shapes)
        backward += whole if fixed.parameters < whole else 0
        update = 2 * fixed.gradients  # gradients and what the optimizer makes of them
        # The old state and the new one, since not every step may donate (see `_update` in step.py).
        return 2 * (fixed.parameters + fixed.optimizer + fixed.ema) + max(backward, update)

    def fits(self, frames: int, parts: int, remat: bool, budget: float) -> bool:
        """Whether batches of this length need at most `budget` bytes in every stage."""
        return all(self.total(name, frames, parts, remat) <= budget for name in self.config.stages)

    def _kept(self, stage: str, rows: int, frames: int, remat: bool) -> tuple[int, ...]:
        """The bytes of each array, parameters aside, that a forward pass keeps for the backward pass."""
        labels, hybrid = self._labels[stage], self.config[stage].alpha < 1
        leaves, structure = jax.tree.flatten(labels)
        key = (*leaves, structure, hybrid, rows, frames, remat)
        if key not in self._traced:
            training = self.config.training.copy_and_resolve_references()
            training.remat = remat
            loss = losses.make_loss(self._graph, labels, training, hybrid=hybrid)
            self._traced[key] = _residuals(
                loss, self._shapes, train_state.batch_shapes(rows, frames, self._glosses)
            )
        return self._traced[key]


def _residuals(loss: losses.Loss, shapes: Params, batch: Batch) -> tuple[int, ...]:
    def backward(params: Params, batch: Batch, settings: Any, key: jax.Array) -> Any:
        return jax.vjp(lambda params: loss(params, batch, settings, key)[0], params)[1]

    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.numpy_dtype_promotion("standard"):  # as low precision needs it
        traced = jax.make_jaxpr(backward)(shapes, batch, stages.StepSettings(), key).jaxpr
    kept = {var for var in traced.outvars if not isinstance(var, core.Literal)}
    return tuple(_bytes(var.aval) for var in kept - {*traced.invars, *traced.constvars})


def _bytes(tree: Any) -> int:
    """The bytes of all arrays in a tree of shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def report(estimator: Estimator, buckets: Sequence[int], gigabytes: float) -> str:
    """Reports what each stage needs on each device, bucket by bucket, and what would make it fit.

    Args:
        estimator: of the config.
        buckets: padded lengths in frames, increasing.
        gigabytes: the memory of a device.
    """
    training, budget = estimator.config.training, gigabytes * _USABLE * _GB
    lines = [
        f"{training.precision}, training.remat={training.remat}, "
        f"training.accumulate={training.accumulate}, devices: {estimator.devices}; GB on each, "
        f"which has {gigabytes:g}, {_USABLE:.0%} of it for JAX: {budget / _GB:.1f}"
    ]
    parts, remat = training.accumulate, training.remat
    for name in estimator.config.stages:
        shares, rows = dataclasses.asdict(estimator.fixed(name)), estimator.config[name].batch_size
        lines.append(f"{name}: " + ", ".join(f"{k} {v / _GB:.2f}" for k, v in shares.items()))
        for frames in buckets:
            activations = estimator.activations(name, frames, parts, remat)
            total = estimator.total(name, frames, parts, remat)
            lines.append(
                f"  {rows:>5} x {frames:<5} frames  activations {activations / _GB:6.2f}"
                f"  in all {total / _GB:6.2f}{'' if total <= budget else '  does not fit'}"
            )
    if estimator.fits(buckets[-1], parts, remat, budget):
        lines.append("all of it fits")
    else:
        ways = _ways_to_fit(estimator, buckets[-1], budget)
        lines.append(
            "it fits with " + " or ".join(ways)
            if ways
            else "nothing makes it fit: lower data.max_seq_length, or choose a smaller model.size"
        )
    return "\n".join(lines)


def _ways_to_fit(estimator: Estimator, longest: int, budget: float) -> list[str]:
    """The flags with which batches of the longest bucket fit: fewest parts, without and with remat."""
    config = estimator.config
    rows = math.gcd(*(config[name].batch_size for name in config.stages)) // estimator.devices
    ways = []
    for remat in (False, True):
        for parts in (parts for parts in range(1, rows + 1) if rows % parts == 0):
            if estimator.fits(longest, parts, remat, budget):
                ways.append(f"--config.training.remat={remat} --config.training.accumulate={parts}")
                break
    return ways

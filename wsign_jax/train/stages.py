"""The settings of a stage: what trains in it, its learning rates and its attention windows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.common.errors import WSignError
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import Params, group_of, layer_paths, parameter_paths
from wsign_jax.train import param_rules

TRAIN, FREEZE = "train", "freeze"

# () numbers, on the host or traced.
Float = np.float32 | jax.Array
Whole = np.int32 | jax.Array

_WINDOWS = 3  # the random stream that draws attention windows; the data uses streams 0 to 2


class StepSettings(NamedTuple):
    """The scalars that may change from step to step without compiling again: a step traces them."""

    learning_rate: Float = np.float32(0)
    weight_decay: Float = np.float32(0)
    alpha: Float = np.float32(1)  # share of CTC in the loss
    chunk: Whole = np.int32(FULL_ATTENTION)  # patches
    left_context: Whole = np.int32(0)  # patches


def label_parameters(params: Params, rules: Sequence[Sequence[Any]], stage: str) -> Params:
    """Marks every parameter 'train' or 'freeze', as `param_rules.apply_rules` does.

    Raises:
        WSignError: the rules do not fit the parameters, or leave nothing to train.
    """
    field = f"{stage}.rules"
    labels = param_rules.apply_rules(params, rules, (TRAIN, FREEZE), field)
    if TRAIN not in jax.tree.leaves(labels):
        raise WSignError(f"config.{field}: nothing is left to train")
    return labels


def learning_rates(params: Params, rules: Sequence[Sequence[Any]], stage: str) -> Params:
    """The share of the stage's learning rate for every parameter, or a tuple of its layers' shares.

    A rule is (path pattern, action[, share[, decay]]). The share is 1 if it is missing. The decay is
    layer-wise: a factor for each block above the parameter's own in its stack.
    """
    matched = param_rules.match_rules(params, rules, f"{stage}.rules")
    shares = {}
    for leaf in parameter_paths(params).items():
        for above, path in enumerate(reversed(layer_paths(*leaf))):
            share, decay = (*matched[path][2:], 1.0, 1.0)[:2]
            shares[path] = float(share * decay**above)
    return param_rules.gather_layers(params, shares)


def learning_rate(peak: float, step: int, steps: int, warmup: int) -> float:
    """The learning rate of a stage's `step`, counted from 0: a linear warm-up, then a cosine to zero.

    The warm-up takes at most a fifth of the stage, so that a short run gets past it.
    """
    warmup = min(warmup, steps // 5)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def step_settings(
    stage: ConfigDict, training: ConfigDict, step: int, first_step: int, steps: int
) -> StepSettings:
    """The settings of one step, which depend on the config and the step's numbers alone.

    Args:
        stage: the stage's block of the config.
        training: `config.training`; its seed and the step draw the attention window.
        step: global, from 0.
        first_step: the global step with which the stage began.
        steps: the number of steps of the stage.
    """
    rng = np.random.default_rng([training.seed, step, _WINDOWS])
    chunk = int(rng.choice(stage.chunks)) or FULL_ATTENTION
    left_context = int(rng.choice(stage.left_contexts))
    return StepSettings(
        np.float32(learning_rate(stage.lr, step - first_step, steps, training.warmup_steps)),
        np.float32(stage.weight_decay),
        np.float32(stage.alpha),
        np.int32(chunk),
        np.int32(left_context),
    )


def training_table(params: Params, labels: Params, rates: Params) -> str:
    """A table of what trains and what is frozen, with parameter counts.

    Parameters are grouped by the first part of their paths, and more finely if their learning rate is
    not the stage's own.
    """
    label_of, rate_of = (param_rules.values_by_layer(params, values) for values in (labels, rates))
    counted = [
        (path, math.prod(leaf.shape) // len(paths))
        for name, leaf in parameter_paths(params).items()
        for paths in [layer_paths(name, leaf)]
        for path in paths
    ]
    groups: dict[tuple[str, str, float], int] = {}
    for path, count in counted:
        rate = rate_of[path]
        key = (path.split("/")[0] if rate == 1.0 else group_of(path), label_of[path], rate)
        groups[key] = groups.get(key, 0) + count
    width = max(10, *(len(group) for group, _, _ in groups))
    return "\n".join(
        f"  {label:<6} {group:<{width}} {count:>12,} parameters"
        + (f" at {rate:.3g} of the learning rate" if rate != 1.0 else "")
        for (group, label, rate), count in groups.items()
    )

"""What a stage is: what trains in it, its optimiser, learning rate and attention windows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from wsign_jax.errors import WSignError
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import Params, parameter_paths
from wsign_jax.train import rules as rules_lib

TRAIN, FREEZE = "train", "freeze"

_WINDOWS = 3  # stream of random numbers that draws windows; the data uses 0 to 2


class StepSettings(NamedTuple):
    """What may differ from step to step without compiling again: scalars, which a step traces."""

    learning_rate: Any = np.float32(0)
    weight_decay: Any = np.float32(0)
    alpha: Any = np.float32(1)  # share of CTC in the loss
    chunk: Any = np.int32(FULL_ATTENTION)  # patches
    left_context: Any = np.int32(0)  # patches


def label_parameters(params: Params, rules: Sequence[tuple[str, str]], stage: str) -> Params:
    """Marks every parameter 'train' or 'freeze'.

    Args:
        params: nested dict; only its structure matters.
        rules: see `rules.apply`.
        stage: whose rules they are.

    Raises:
        WSignError: the rules do not fit the parameters, or leave nothing to train.
    """
    field = f"{stage}.rules"
    labels = rules_lib.apply(params, rules, (TRAIN, FREEZE), field)
    if TRAIN not in jax.tree.leaves(labels):
        raise WSignError(f"config.{field}: nothing is left to train")
    return labels


def make_optimizer(
    labels: Params, settings: StepSettings, grad_clip: float
) -> optax.GradientTransformation:
    """AdamW for what trains; nothing at all, not even state, for what is frozen.

    Only trained gradients count towards the clipped norm. Weight decay is for matrices: biases and
    norms are left alone. The state does not depend on `settings`, so a step may build the optimiser
    from traced values.
    """

    def decayed(params: Params) -> Params:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    adamw = optax.chain(
        optax.clip_by_global_norm(grad_clip),
        optax.adamw(
            settings.learning_rate, b2=0.98, weight_decay=settings.weight_decay, mask=decayed
        ),
    )
    return optax.partition({TRAIN: adamw, FREEZE: optax.set_to_zero()}, labels)


def stop_frozen(params: Params, labels: Params) -> Params:
    """The same parameters, with no gradient, and nothing kept for one, at what is frozen."""

    def stop(leaf: jax.Array, label: str) -> jax.Array:
        return leaf if label == TRAIN else jax.lax.stop_gradient(leaf)

    return jax.tree.map(stop, params, labels)


def trained(tree: Params, labels: Params) -> list[Any]:
    """The leaves of a tree of parameters or gradients that train."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(labels), strict=True)
    return [leaf for leaf, label in pairs if label == TRAIN]


def learning_rate(peak: float, step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine to zero.

    Args:
        peak: highest rate.
        step: within the stage, from 0.
        steps: of the stage.
        warmup: steps; at most a fifth of a stage, so that a short run gets past it.
    """
    warmup = min(warmup, steps // 5)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def step_settings(
    stage: ConfigDict, training: ConfigDict, step: int, first_step: int, steps: int
) -> StepSettings:
    """The settings of one step, from its numbers alone.

    Args:
        stage: the stage's block of the config.
        training: `config.training`; its seed and the step draw the attention window.
        step: global, from 0.
        first_step: the global step with which the stage began.
        steps: of the stage.
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


def training_table(params: Params, labels: Params) -> str:
    """What trains and what is frozen, by the first parts of the paths, with parameter counts."""
    groups: dict[tuple[str, str], int] = {}
    pairs = zip(parameter_paths(params).items(), jax.tree.leaves(labels), strict=True)
    for (path, leaf), label in pairs:
        group = path.split("/blocks/")[0].split("/")[0]
        groups[group, label] = groups.get((group, label), 0) + math.prod(leaf.shape)
    return "\n".join(
        f"  {label:<6} {group:<10} {count:>12,} parameters"
        for (group, label), count in groups.items()
    )

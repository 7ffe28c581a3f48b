"""The optimizer: AdamW for what trains, nothing for what is frozen."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wsign_jax.model.whisper_sign import Params
from wsign_jax.train.stages import FREEZE, TRAIN, StepSettings


def make_optimizer(
    labels: Params,
    settings: StepSettings,
    grad_clip: float,
    rates: Params | None = None,
    grad_norm: jax.Array | None = None,
) -> optax.GradientTransformation:
    """Makes AdamW for what trains; frozen parameters have neither updates nor state.

    Only trained gradients count toward the clipped norm. Weight decay is for matrices: biases and
    norms are left alone. The state does not depend on `settings` or `rates`, so that a step may build
    the optimizer from traced settings.

    If only some layers of a stacked parameter train, its state has room for all of them. Gradients of
    the others must be 0, as `stop_frozen` makes them.

    Args:
        labels: from `stages.label_parameters`.
        settings: learning rate and weight decay.
        grad_clip: the largest norm of all gradients together.
        rates: from `stages.learning_rates`; None: the full rate for all.
        grad_norm: the norm of all gradients together; None computes it.
    """

    def decayed(params: Params) -> Params:
        def is_matrix(path: Any, leaf: jax.Array) -> bool:
            return leaf.ndim - ("['blocks']" in jax.tree_util.keystr(path)) > 1

        return jax.tree_util.tree_map_with_path(is_matrix, params)

    def trained(params: Params) -> Params:
        return jax.tree.map(lambda _, label: TRAIN if _trains(label) else FREEZE, params, labels)

    adamw = optax.chain(
        _clip(grad_clip, grad_norm),
        optax.adamw(
            settings.learning_rate, b2=0.98, weight_decay=settings.weight_decay, mask=decayed
        ),
    )
    tx = optax.partition({TRAIN: adamw, FREEZE: optax.set_to_zero()}, trained)

    def update(grads: Params, opt_state: Any, params: Params | None = None) -> tuple[Params, Any]:
        updates, opt_state = tx.update(grads, opt_state, params)
        if rates is not None:
            # AdamW's whole update is proportional to its rate, weight decay included.
            updates = jax.tree.map(lambda u, rate: u * _for_layers(rate, u), updates, rates)
        return _only_trained(updates, labels, jnp.zeros_like), opt_state

    return optax.GradientTransformation(tx.init, update)


def _trains(label: str | tuple[str, ...]) -> bool:
    """Whether a parameter trains, or any of its layers."""
    return TRAIN in (label if isinstance(label, tuple) else (label,))


def _leaves_train(labels: Params) -> list[bool]:
    """Whether each parameter trains, or any of its layers."""
    leaves = jax.tree.leaves(labels, is_leaf=lambda label: isinstance(label, tuple))
    return [*map(_trains, leaves)]


def _for_layers(values: Any, like: jax.Array) -> jax.Array:
    """Makes one value, or a tuple of one for every layer of a stacked parameter, fit that parameter."""
    each = np.asarray(values, like.dtype)
    return jnp.asarray(each.reshape(-1, *(1,) * (like.ndim - 1)) if each.ndim else each)


def _only_trained(
    tree: Params, labels: Params, otherwise: Callable[[jax.Array], jax.Array]
) -> Params:
    """Replaces the frozen layers of parameters that train only in part."""

    def replace(leaf: jax.Array, label: str | tuple[str, ...]) -> jax.Array:
        if isinstance(label, str):
            return leaf
        trains = _for_layers([each == TRAIN for each in label], leaf) > 0
        return jnp.where(trains, leaf, otherwise(leaf))

    return jax.tree.map(replace, tree, labels)


def global_norm(grads: Any) -> jax.Array:
    """The norm of all arrays in a tree together; optax's own has another name in every version."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)))


def _clip(largest: float, norm: jax.Array | None) -> optax.GradientTransformation:
    """Scales gradients down to a global norm, as `optax.clip_by_global_norm` does.

    It multiplies by one factor, which is 1 if the norm is small enough. The factor becomes part of what
    AdamW does with a gradient; optax's selects would be one more pass over all gradients.
    """

    def update(grads: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        share = jnp.minimum(1.0, largest / (global_norm(grads) if norm is None else norm))
        return jax.tree.map(lambda g: g * share, grads), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def stop_frozen(params: Params, labels: Params) -> Params:
    """Stops gradients at frozen parameters, so that the forward pass keeps nothing for them."""

    def stop(leaf: jax.Array, label: str | tuple[str, ...]) -> jax.Array:
        return leaf if _trains(label) else jax.lax.stop_gradient(leaf)

    stopped = jax.tree.map(stop, params, labels)
    return _only_trained(stopped, labels, jax.lax.stop_gradient)


def trained_leaves(tree: Params, labels: Params) -> list[Any]:
    """The leaves of a tree of parameters or gradients that train."""
    pairs = zip(jax.tree.leaves(tree), _leaves_train(labels), strict=True)
    return [leaf for leaf, trains in pairs if trains]


def with_frozen(grads: Sequence[jax.Array], params: Params, labels: Params) -> Params:
    """The tree of gradients, made from those of `trained_leaves`, with zeros at what is frozen."""
    leaves, tree = jax.tree.flatten(params)
    places = (index for index, trains in enumerate(_leaves_train(labels)) if trains)
    whole = [jnp.zeros_like(leaf) for leaf in leaves]
    for place, grad in zip(places, grads, strict=True):
        whole[place] = grad
    return jax.tree.unflatten(tree, whole)

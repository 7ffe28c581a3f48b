"""One training step, a pure function: state and batch in, state and metrics out."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.model.whisper_sign import Params, computes_in_float32, parameter_paths
from wsign_jax.train import losses, optimizer
from wsign_jax.train.losses import Metrics
from wsign_jax.train.precision import resolve_precision
from wsign_jax.train.sharding import replicated
from wsign_jax.train.stages import StepSettings
from wsign_jax.train.state import LossScale, TrainState

Grads = list[jax.Array]  # gradients of the parameters that train

_GROW_AFTER = 2000  # steps without overflow after which the loss scale doubles
_LARGEST_SCALE = 2.0**24


def make_train_step(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    augmentation: ConfigDict,
    *,
    hybrid: bool,
    rates: Params | None = None,
    shardings: TrainState | None = None,
) -> jax.stages.Wrapped:
    """Makes the step of all stages that train the same parameters: a jitted function.

    It takes a `TrainState`, a `Batch` and `StepSettings`. It returns the next state and the metrics.

    On a CPU the step has compiler options. Because of them, JAX lets only Python call it, not a
    function that another `jax.jit` traces.

    Args:
        graph: from `whisper_sign.build_network`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`; dropout is keyed by its seed and the step.
        augmentation: `config.data.augment`, keyed by the seed, an example and its epoch.
        hybrid: whether the attention decoder takes part.
        rates: each parameter's share of the learning rate; None: the full rate for all.
        shardings: where the state stays from step to step; None leaves it to the compiler.
    """
    gradients = make_gradients(
        graph, labels, training, augmentation, hybrid=hybrid, shardings=shardings
    )
    # Plain values, so that a later change of the config cannot change what is traced.
    ema, grad_clip = training.ema, training.grad_clip

    def train_step(
        state: TrainState, batch: Batch[jax.Array], settings: StepSettings
    ) -> tuple[TrainState, Metrics]:
        grads, metrics = gradients(state, batch, settings)
        norm = metrics["grad_norm"]
        tx = optimizer.make_optimizer(labels, settings, grad_clip, rates, norm)
        new = _optimize(state, optimizer.with_frozen(grads, state.params, labels), tx, ema)
        if state.loss_scale is None:
            return new, metrics
        finite = jnp.isfinite(norm)
        next_scale = _next_scale(state.loss_scale, finite)
        metrics |= {"loss_scale": next_scale.scale, "skipped_steps": next_scale.skipped}
        return _keep_if(finite, new, state).replace(loss_scale=next_scale), metrics

    cpu = jax.default_backend() == "cpu"
    # jaxlib 0.7.2 on CPU gives wrong losses and updates if the state is donated; nobody has tried it
    # elsewhere. (jax-ml/jax#39625 is about results that come before a donated state on GPUs. Ours come
    # after it.)
    safe = jax.__version_info__ >= ((0, 10) if cpu else (0, 8))
    return jax.jit(
        train_step,
        donate_argnums=(0,) if safe else (),
        # Without these the compiler may move a parameter, and the next step would be compiled again.
        out_shardings=shardings and (shardings, shardings.step),
        # By default XLA halves the width of vectors on processors that have wide ones, which costs 6 %
        # of a base-size step.
        compiler_options={"xla_cpu_prefer_vector_width": 512} if cpu else None,
    )


def make_gradients(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    augmentation: ConfigDict,
    *,
    hybrid: bool,
    shardings: TrainState | None = None,
) -> Callable[[TrainState, Batch[jax.Array], StepSettings], tuple[Grads, Metrics]]:
    """Makes the function that computes a step's gradients and metrics; see `make_train_step`."""
    loss = losses.make_loss(graph, labels, training, augmentation, hybrid=hybrid)
    seed, parts = training.seed, training.accumulate
    dtype = jnp.dtype(resolve_precision(training.precision))

    def gradients(
        state: TrainState, batch: Batch[jax.Array], settings: StepSettings
    ) -> tuple[Grads, Metrics]:
        scale = jnp.ones(()) if state.loss_scale is None else state.loss_scale.scale

        def of_part(
            part: Batch[jax.Array], key: jax.Array, share: jax.Array
        ) -> tuple[Grads, Metrics]:
            def scaled_loss(params: Params) -> tuple[jax.Array, Metrics]:
                if shardings is not None:  # each device needs them whole to compute its rows
                    params = _gather_parameters(params, shardings.params, dtype)
                value, metrics = loss(params, part, settings, key)
                return value * (scale * share), jax.tree.map(lambda m: m * share, metrics)

            grads, metrics = jax.grad(scaled_loss, has_aux=True)(state.params)
            if shardings is not None:
                grads = jax.lax.with_sharding_constraint(grads, shardings.params)
            return optimizer.trained_leaves(grads, labels), metrics

        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = _over_parts(of_part, batch, key, parts)
        grads = [g / scale for g in grads]
        metrics["grad_norm"] = optimizer.global_norm(grads)
        # A finite loss can still have an infinite gradient. An overflow in float16 only lowers the
        # scale; it counts as not finite once the scale cannot go lower.
        numbers = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["finite"] = numbers | (scale > 1.0)
        metrics["frames"] = jnp.sum(batch.frames)
        return grads, metrics

    return gradients


def _gather_parameters(params: Params, shardings: Params, dtype: jnp.dtype) -> Params:
    """Gathers parameters on every device, if possible in the dtype of the computation.

    A gathered parameter is cast before it travels. Its gradient comes back in the same dtype and is
    summed only where its part of the parameter lies.
    """
    leaves, tree = jax.tree.flatten(params)
    places = zip(parameter_paths(params), leaves, jax.tree.leaves(shardings), strict=True)
    return jax.tree.unflatten(
        tree,
        [
            _gather(leaf if computes_in_float32(path) else leaf.astype(dtype), sharding)
            if not sharding.is_fully_replicated
            else jax.lax.with_sharding_constraint(leaf, sharding)
            for path, leaf, sharding in places
        ],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gather(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    # Otherwise it is cast after its journey.
    part = jax.lax.with_sharding_constraint(leaf, sharding)
    return jax.lax.with_sharding_constraint(part, replicated(sharding.mesh))


def _gather_forward(leaf: jax.Array, sharding: NamedSharding) -> tuple[jax.Array, None]:
    return _gather(leaf, sharding), None


def _gather_backward(sharding: NamedSharding, residual: None, grad: jax.Array) -> tuple[jax.Array]:
    del residual
    return (jax.lax.with_sharding_constraint(grad, sharding),)


_gather.defvjp(_gather_forward, _gather_backward)


def _optimize(
    state: TrainState, grads: Params, tx: optax.GradientTransformation, ema: float
) -> TrainState:
    """The state after one step of the optimizer, and of the moving average if there is one."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.ema
    if average is not None:
        average = jax.tree.map(lambda e, p: ema * e + (1.0 - ema) * p, average, params)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=average)


def _over_parts(
    gradients: Callable[[Batch, jax.Array, jax.Array], tuple[Grads, Metrics]],
    batch: Batch,
    key: jax.Array,
    parts: int,
) -> tuple[Grads, Metrics]:
    """Computes a batch's gradients and metrics in parts, one after another, and sums them.

    Args:
        gradients: takes a part, its dropout key and its share of the batch's real rows.
        batch: the batch; `parts` divides its rows.
        key: for dropout.
        parts: how many; a single one does not need a loop.
    """
    if parts == 1:
        return gradients(batch, key, jnp.ones(()))
    # A part has every parts-th row, so that rows spread over devices stay where they are.
    split = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch)
    real = jnp.sum(split.frames > 0, axis=1, dtype=jnp.float32)
    inputs = (split, jax.random.split(key, parts), real / jnp.maximum(jnp.sum(real), 1.0))

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients(*part)), None

    def of_first(parts: Any) -> Any:
        return gradients(*jax.tree.map(lambda x: x[0], parts))

    shapes = jax.eval_shape(of_first, inputs)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, zeros, inputs)[0]


def _keep_if(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """The new state if gradients were finite; otherwise the old one with the new step's number."""
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return kept.replace(step=new.step)


def _next_scale(loss_scale: LossScale, finite: jax.Array) -> LossScale:
    """Halves the loss scale on overflow, which it counts; doubles it after `_GROW_AFTER` good steps."""
    good_steps = jnp.where(finite, loss_scale.good_steps + 1, 0)
    grow = good_steps >= _GROW_AFTER
    grown = jnp.where(grow, jnp.minimum(loss_scale.scale * 2.0, _LARGEST_SCALE), loss_scale.scale)
    scale = jnp.where(finite, grown, jnp.maximum(loss_scale.scale * 0.5, 1.0))
    skipped = loss_scale.skipped + jnp.where(finite, 0, 1)
    return LossScale(scale, jnp.where(grow, 0, good_steps), skipped)

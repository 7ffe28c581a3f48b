"""One training step, a pure function: state and batch in, state and metrics out."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import losses, optimizer, stages
from wsign_jax.train.losses import Metrics
from wsign_jax.train.state import LossScale, TrainState

Grads = list[jax.Array]  # gradients of the parameters that train

_GROW_AFTER = 2000  # steps without overflow after which the loss scale doubles
_LARGEST_SCALE = 2.0**24


class TrainStep:
    """A step in two programs: one computes gradients, the other updates the state with them.

    The gradients are compiled for every shape of a batch, the update once for all shapes. In a single
    program, the update would be a quarter of what is compiled for each shape.

    The metrics are ready before the state: whoever needs the whole step waits for both.
    """

    def __init__(self, gradients: Any, update: Any, labels: Params):
        """Joins the two halves, both from `jax.jit`.

        Args:
            gradients: takes parameters, the step's number, its loss scale, a batch and settings.
            update: takes a state, gradients, their norm and settings.
            labels: 'train' or 'freeze' for every parameter.
        """
        self._gradients, self._update, self._labels = gradients, update, labels
        self._updating: tuple[jax.stages.Lowered, Future[jax.stages.Compiled]] | None = None

    def __call__(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after a step, and its metrics."""
        return _in_turn(self._gradients, self._update, state, batch, settings)

    def lower(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> "LoweredStep":
        """Lowers the step for arguments of these shapes; states must have the same shapes each time."""
        if self._updating is None:
            # Gradients have the shapes and the places of their parameters.
            grads = optimizer.trained_leaves(state.params, self._labels)
            norm = jax.ShapeDtypeStruct((), jnp.float32, sharding=state.step.sharding)
            lowered = self._update.lower(state, grads, norm, settings)
            # Compiling does not need the interpreter: it runs while Python traces the gradients.
            pool = ThreadPoolExecutor(1, thread_name_prefix="compile")
            self._updating = lowered, pool.submit(lowered.compile)
            pool.shutdown(wait=False)
        given = (state.params, state.step, state.loss_scale, batch, settings)
        return LoweredStep(self._gradients.lower(*given), *self._updating)

    def cache_size(self) -> int:
        """The number of programs, of both kinds, that calls have compiled."""
        return int(self._gradients._cache_size() + self._update._cache_size())


class LoweredStep(NamedTuple):
    """A lowered step; its update is being compiled already."""

    gradients: jax.stages.Lowered
    update: jax.stages.Lowered
    updating: Future[jax.stages.Compiled]

    @property
    def flops(self) -> float:
        """The step's floating-point operations, as XLA counts them before it optimizes."""
        return _flops(self.gradients) + _flops(self.update)

    def compile(self) -> "CompiledStep":
        """Compiles the gradients, and waits for the update.

        Raises:
            Exception: whatever went wrong when one of them was compiled.
        """
        return CompiledStep(self.gradients.compile(), self.updating.result())


class CompiledStep(NamedTuple):
    """A compiled step, called like a `TrainStep`."""

    gradients: jax.stages.Compiled
    update: jax.stages.Compiled

    @property
    def flops(self) -> float:
        """The step's floating-point operations, as XLA counts them in what it compiled."""
        return _flops(self.gradients) + _flops(self.update)

    def __call__(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after a step, and its metrics."""
        return _in_turn(*self, state, batch, settings)


def _flops(program: Any) -> float:
    return float(program.cost_analysis()["flops"])


def _in_turn(
    gradients: Callable[..., Any],
    update: Callable[..., Any],
    state: TrainState,
    batch: Batch,
    settings: stages.StepSettings,
) -> tuple[TrainState, Metrics]:
    grads, metrics = gradients(state.params, state.step, state.loss_scale, batch, settings)
    state, more = update(state, grads, metrics["grad_norm"], settings)
    return state, metrics | more


def make_train_step(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    *,
    hybrid: bool,
    rates: Params | None = None,
    shardings: TrainState | None = None,
) -> TrainStep:
    """Makes the step of all stages that train the same parameters.

    On a CPU the step has compiler options. Because of them, JAX lets only Python call it, not a
    function that another `jax.jit` traces.

    Args:
        graph: from `whisper_sign.build`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`; dropout is keyed by its seed and the step.
        hybrid: whether the attention decoder takes part.
        rates: each parameter's share of the learning rate; None: the full rate for all.
        shardings: where the state stays from step to step; None leaves it to the compiler.
    """
    return TrainStep(
        _gradients(graph, labels, training, hybrid, shardings),
        _update(labels, training, rates, shardings),
        labels,
    )


def _gradients(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    hybrid: bool,
    shardings: TrainState | None,
) -> Any:
    """Makes the first half of a step; for the arguments see `make_train_step`."""
    loss = losses.make_loss(graph, labels, training, hybrid=hybrid)
    # Plain values, so that a later change of the config cannot change what is traced.
    seed, parts = training.seed, training.accumulate

    def gradients(
        params: Params,
        step: jax.Array,
        loss_scale: LossScale | None,
        batch: Batch,
        settings: stages.StepSettings,
    ) -> tuple[Grads, Metrics]:
        scale = jnp.ones(()) if loss_scale is None else loss_scale.scale

        def of_part(part: Batch, key: jax.Array, share: jax.Array) -> tuple[Grads, Metrics]:
            def scaled_loss(params: Params) -> tuple[jax.Array, Metrics]:
                if shardings is not None:  # each device needs them whole to compute its rows
                    params = jax.lax.with_sharding_constraint(params, shardings.step)
                value, metrics = loss(params, part, settings, key)
                return value * (scale * share), jax.tree.map(lambda m: m * share, metrics)

            grads, metrics = jax.grad(scaled_loss, has_aux=True)(params)
            if shardings is not None:
                grads = jax.lax.with_sharding_constraint(grads, shardings.params)
            return optimizer.trained_leaves(grads, labels), metrics

        key = jax.random.fold_in(jax.random.key(seed), step)
        grads, metrics = _over_parts(of_part, batch, key, parts)
        grads = [g / scale for g in grads]
        metrics["grad_norm"] = optimizer.global_norm(grads)
        # A finite loss can still have an infinite gradient. An overflow in float16 only lowers the
        # scale; it counts as not finite once the scale cannot go lower.
        numbers = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["finite"] = numbers | (scale > 1.0)
        metrics["frames"] = jnp.sum(batch.frames)
        return grads, metrics

    return jax.jit(
        gradients,
        out_shardings=shardings
        and (optimizer.trained_leaves(shardings.params, labels), shardings.step),
        compiler_options=_compiler_options(),
    )


def _update(
    labels: Params, training: ConfigDict, rates: Params | None, shardings: TrainState | None
) -> Any:
    """Makes the second half of a step; for the arguments see `make_train_step`."""
    ema, grad_clip = training.ema, training.grad_clip  # plain values, as above

    def update(
        state: TrainState, grads: Grads, grad_norm: jax.Array, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        tx = optimizer.make_optimizer(labels, settings, grad_clip, rates, grad_norm)
        new = _optimize(state, optimizer.with_frozen(grads, state.params, labels), tx, ema)
        if state.loss_scale is None:
            return new, {}
        finite = jnp.isfinite(grad_norm)
        next_scale = _next_scale(state.loss_scale, finite)
        metrics = {"loss_scale": next_scale.scale, "skipped_steps": next_scale.skipped}
        return _keep_if(finite, new, state).replace(loss_scale=next_scale), metrics

    # jaxlib 0.7.2 on CPU gives wrong losses and updates if the state is donated; nobody has tried it
    # elsewhere. (jax-ml/jax#39625 is about results that come before a donated state on GPUs. Ours come
    # after it.)
    safe = jax.__version_info__ >= ((0, 10) if jax.default_backend() == "cpu" else (0, 8))
    return jax.jit(
        update,
        donate_argnums=(0,) if safe else (),
        # Without these the compiler may move a parameter, and the next step would be compiled again.
        out_shardings=shardings and (shardings, shardings.step),
        compiler_options=_compiler_options(),
    )


def _compiler_options() -> dict[str, Any] | None:
    # By default XLA halves the width of vectors on processors that have wide ones, which costs 6 % of a
    # base-size step.
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None


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

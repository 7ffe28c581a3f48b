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

Grads = list[jax.Array]  # of the parameters that train

_GROW_AFTER = 2000  # steps without overflow after which the loss scale doubles
_LARGEST_SCALE = 2.0**24


class TrainStep:
    """A step in two programs: gradients, compiled for every shape of a batch, and what the optimizer
    makes of them, compiled once for all shapes: in one program it would be a quarter of each.

    Metrics are known before the state is: what needs the whole step waits for both."""

    def __init__(self, gradients: Any, update: Any, labels: Params):
        """From its halves, both from `jax.jit`.

        Args:
            gradients: of parameters, the step's number, its loss scale, a batch and settings.
            update: of a state, gradients, their norm and settings.
            labels: 'train' or 'freeze' for every parameter.
        """
        self._gradients, self._update, self._labels = gradients, update, labels
        self._updating: tuple[jax.stages.Lowered, Future[jax.stages.Compiled]] | None = None

    def __call__(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        """The state after a step, and its metrics."""
        return _in_turn(self._gradients, self._update, state, batch, settings)

    def lower(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> "LoweredStep":
        """The step for arguments of these shapes, to be compiled; states have the same each time."""
        if self._updating is None:
            grads = optimizer.trained_leaves(
                state.params, self._labels
            )  # their shapes, and where they lie
            norm = jax.ShapeDtypeStruct((), jnp.float32, sharding=state.step.sharding)
            lowered = self._update.lower(state, grads, norm, settings)
            # Compiling needs no interpreter: this is done while Python traces the gradients.
            pool = ThreadPoolExecutor(1, thread_name_prefix="compile")
            self._updating = lowered, pool.submit(lowered.compile)
            pool.shutdown(wait=False)
        given = (state.params, state.step, state.loss_scale, batch, settings)
        return LoweredStep(self._gradients.lower(*given), *self._updating)

    def cache_size(self) -> int:
        """How many programs were compiled by calls, of both kinds."""
        return int(self._gradients._cache_size() + self._update._cache_size())


class LoweredStep(NamedTuple):
    """A step whose update is being compiled."""

    gradients: jax.stages.Lowered
    update: jax.stages.Lowered
    updating: Future[jax.stages.Compiled]

    @property
    def flops(self) -> float:
        """Floating-point operations, as XLA counts them before it optimizes."""
        return _flops(self.gradients) + _flops(self.update)

    def compile(self) -> "CompiledStep":
        """Compiles the gradients, and waits for the update.

        Raises:
            Exception: whatever went wrong with one of them.
        """
        return CompiledStep(self.gradients.compile(), self.updating.result())


class CompiledStep(NamedTuple):
    """Called as a `TrainStep`."""

    gradients: jax.stages.Compiled
    update: jax.stages.Compiled

    @property
    def flops(self) -> float:
        """Floating-point operations, as XLA counts them in what it compiled."""
        return _flops(self.gradients) + _flops(self.update)

    def __call__(
        self, state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        """The state after a step, and its metrics."""
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
    """The step of all stages that train the same parameters.

    On a CPU it has options for the compiler, with which JAX lets it be called from Python only, not from
    what another `jax.jit` traces.

    Args:
        graph: from `whisper_sign.build`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`; dropout is keyed by its seed and the step.
        hybrid: whether the attention decoder takes part.
        rates: each parameter's share of the learning rate; None is all of it for all.
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
    """The first half of a step; arguments as of `make_train_step`."""
    loss = losses.make_loss(graph, labels, training, hybrid=hybrid)
    # Plain values: what is traced must not change with the config afterwards.
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
                if shardings is not None:  # each device needs the whole while it computes its rows
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
        # A finite loss may still have sent an infinite gradient. What overflows in float16 only lowers
        # the scale, until there is nothing to lower.
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
    """The second half of a step; arguments as of `make_train_step`."""
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

    # jaxlib 0.7.2 on CPU gives wrong losses and updates where the state is donated; nobody has tried it
    # elsewhere. (jax-ml/jax#39625 is of results before a donated state's on GPUs: ours come after it.)
    safe = jax.__version_info__ >= ((0, 10) if jax.default_backend() == "cpu" else (0, 8))
    return jax.jit(
        update,
        donate_argnums=(0,) if safe else (),
        # Without these the compiler may move a parameter, and the next step would be compiled again.
        out_shardings=shardings and (shardings, shardings.step),
        compiler_options=_compiler_options(),
    )


def _compiler_options() -> dict[str, Any] | None:
    # XLA halves the vectors of processors that have wide ones: 6 % of a base-size step.
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else None


def _optimize(
    state: TrainState, grads: Params, tx: optax.GradientTransformation, ema: float
) -> TrainState:
    """The state after one step of the optimizer, and of the moving average where there is one."""
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
    """Works a batch through in parts, one after the other, and sums what comes out.

    Args:
        gradients: of a part, its dropout key and its share of the batch's real rows.
        batch: whose rows `parts` divides.
        key: for dropout.
        parts: how many; one needs no loop.
    """
    if parts == 1:
        return gradients(batch, key, jnp.ones(()))
    # Every parts-th row makes a part, so that rows spread over devices stay where they are.
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
    """The new state where gradients were finite; else the old one, but for the step's number."""
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return kept.replace(step=new.step)


def _next_scale(loss_scale: LossScale, finite: jax.Array) -> LossScale:
    """Halves the scale on overflow, which it counts, and doubles it after a long quiet."""
    good_steps = jnp.where(finite, loss_scale.good_steps + 1, 0)
    grow = good_steps >= _GROW_AFTER
    grown = jnp.where(grow, jnp.minimum(loss_scale.scale * 2.0, _LARGEST_SCALE), loss_scale.scale)
    scale = jnp.where(finite, grown, jnp.maximum(loss_scale.scale * 0.5, 1.0))
    skipped = loss_scale.skipped + jnp.where(finite, 0, 1)
    return LossScale(scale, jnp.where(grow, 0, good_steps), skipped)

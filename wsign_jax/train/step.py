"""One training step, a pure function: state and batch in, state and metrics out."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.model import whisper_sign
from wsign_jax.model.dropout import DropoutKeys
from wsign_jax.model.whisper_sign import Params
from wsign_jax.traced import Traced
from wsign_jax.train import losses, stages
from wsign_jax.train.state import LossScale, TrainState

Metrics = dict[str, jax.Array]
Loss = Callable[[Params, Batch, stages.StepSettings, jax.Array], tuple[jax.Array, Metrics]]
TrainStep = Callable[[TrainState, Batch, stages.StepSettings], tuple[TrainState, Metrics]]

_GROW_AFTER = 2000  # steps without overflow after which the loss scale doubles
_LARGEST_SCALE = 2.0**24


def batch_loss(
    model: whisper_sign.WhisperSign,
    batch: Batch,
    settings: stages.StepSettings,
    smoothing: float,
    *,
    hybrid: bool,
    dropout_keys: DropoutKeys | None = None,
    remat: bool = False,
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch: alpha * CTC + (1 - alpha) * cross-entropy, or CTC alone.

    Args:
        model: the network.
        batch: masked rows do not count.
        settings: alpha and the attention window.
        smoothing: label smoothing of the cross-entropy.
        hybrid: whether the attention decoder runs at all.
        dropout_keys: None evaluates, without dropout.
        remat: see `WhisperSign.encode`.

    Returns:
        The scalar loss, and its parts under their log names without 'train/'.
    """
    encoded, patches = model.encode(
        batch.features,
        batch.frames,
        chunk=settings.chunk,
        left_context=settings.left_context,
        remat=remat,
        dropout_keys=dropout_keys,
    )
    real = batch.frames > 0
    logits = model.ctc_logits(encoded, dropout_keys=dropout_keys)
    ctc = losses.ctc_loss(logits, patches, batch.labels, batch.label_lengths)
    ctc = losses.mean_over_rows(ctc, real)
    if not hybrid:
        return ctc, {"loss": ctc, "ctc": ctc}
    logits = model.decoder(
        losses.decoder_inputs(batch.labels), encoded, patches, dropout_keys=dropout_keys
    )
    attention, _ = losses.attention_loss(logits, batch.labels, batch.label_lengths, smoothing)
    attention = losses.mean_over_rows(attention, real)
    loss = settings.alpha * ctc + (1.0 - settings.alpha) * attention
    return loss, {"loss": loss, "ctc": ctc, "attention": attention}


def make_loss(graph: nnx.GraphDef, labels: Params, training: ConfigDict, *, hybrid: bool) -> Loss:
    """The loss that a step differentiates: of parameters, a batch, its settings and a dropout key.

    Args:
        graph: from `whisper_sign.build`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`.
        hybrid: whether the attention decoder takes part.
    """
    # Plain values: what is traced must not change with the config afterwards.
    smoothing, remat = training.label_smoothing, training.remat

    def loss(
        params: Params, batch: Batch, settings: stages.StepSettings, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        model = whisper_sign.bind(graph, stages.stop_frozen(params, labels))
        keys = DropoutKeys.of(key)
        return batch_loss(
            model, batch, settings, smoothing, hybrid=hybrid, dropout_keys=keys, remat=remat
        )

    return loss


def make_train_step(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    *,
    hybrid: bool,
    rates: Params | None = None,
    shardings: TrainState | None = None,
) -> Traced:
    """A `TrainStep`. Compiles once per batch shape; stages that train the same parameters share it.

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
    loss = make_loss(graph, labels, training, hybrid=hybrid)
    # Plain values: what is traced must not change with the config afterwards.
    seed, ema = training.seed, training.ema
    grad_clip, parts = training.grad_clip, training.accumulate

    def train_step(
        state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        scale = jnp.ones(()) if state.loss_scale is None else state.loss_scale.scale

        def gradients(part: Batch, key: jax.Array, share: jax.Array) -> tuple[Params, Metrics]:
            def scaled_loss(params: Params) -> tuple[jax.Array, Metrics]:
                if shardings is not None:  # each device needs the whole while it computes its rows
                    params = jax.lax.with_sharding_constraint(params, shardings.step)
                value, metrics = loss(params, part, settings, key)
                return value * (scale * share), jax.tree.map(lambda m: m * share, metrics)

            grads, metrics = jax.grad(scaled_loss, has_aux=True)(state.params)
            if shardings is not None:
                grads = jax.lax.with_sharding_constraint(grads, shardings.params)
            return grads, metrics

        grads, metrics = _over_parts(gradients, batch, key, parts)
        grads = jax.tree.map(lambda g: g / scale, grads)
        new = _update(state, grads, stages.make_optimizer(labels, settings, grad_clip, rates), ema)
        metrics["grad_norm"] = stages.global_norm(stages.trained(grads, labels))
        # A finite loss may still have sent an infinite gradient. What overflows in float16 only lowers
        # the scale, until there is nothing to lower.
        numbers = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["finite"] = numbers | (scale > 1.0)
        metrics["frames"] = jnp.sum(batch.frames)
        if state.loss_scale is None:
            return new, metrics
        finite = jnp.isfinite(metrics["grad_norm"])
        next_scale = _next_scale(state.loss_scale, finite)
        metrics |= {"loss_scale": next_scale.scale, "skipped_steps": next_scale.skipped}
        return _keep_if(finite, new, state).replace(loss_scale=next_scale), metrics

    settings = (seed, ema, grad_clip, parts, training.label_smoothing, training.remat)
    closure = (graph, labels, rates, hybrid, *settings, shardings is None)
    return _jit(train_step, shardings, closure)


def _jit(train_step: TrainStep, shardings: TrainState | None, closure: Sequence[Any]) -> Traced:
    """The step as it is compiled: see `make_train_step`."""
    # Without these the compiler may move a parameter, and the next step would be compiled again.
    placed = None if shardings is None else (shardings, shardings.step)
    cpu = jax.default_backend() == "cpu"
    # jaxlib 0.7.2 on CPU gives wrong losses and updates where the state is donated; nobody has tried it
    # elsewhere. (jax-ml/jax#39625 is of results before a donated state's on GPUs: ours come after it.)
    safe = jax.__version_info__ >= ((0, 10) if cpu else (0, 8))
    # XLA halves the vectors of processors that have wide ones: 6 % of a base-size step.
    options = {"xla_cpu_prefer_vector_width": 512} if cpu else None
    return Traced(
        train_step,
        closure,
        donate_argnums=(0,) if safe else (),
        out_shardings=placed,
        compiler_options=options,
    )


def _update(
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
    gradients: Callable[[Batch, jax.Array, jax.Array], tuple[Params, Metrics]],
    batch: Batch,
    key: jax.Array,
    parts: int,
) -> tuple[Params, Metrics]:
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

"""One training step, a pure function: state and batch in, state and metrics out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import losses, stages
from wsign_jax.train.state import LossScale, TrainState

Metrics = dict[str, jax.Array]
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
    rngs: nnx.Rngs | None = None,
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch: alpha * CTC + (1 - alpha) * cross-entropy, or CTC alone.

    Args:
        model: the network.
        batch: masked rows do not count.
        settings: alpha and the attention window.
        smoothing: label smoothing of the cross-entropy.
        hybrid: whether the attention decoder runs at all.
        rngs: dropout; None evaluates without.

    Returns:
        The scalar loss, and its parts under their log names without 'train/'.
    """
    dropout: dict[str, Any] = {"deterministic": rngs is None, "rngs": rngs}
    encoded, patches = model.encode(
        batch.features,
        batch.frames,
        chunk=settings.chunk,
        left_context=settings.left_context,
        **dropout,
    )
    real = batch.frames > 0
    logits = model.ctc_logits(encoded, **dropout)
    ctc = losses.ctc_loss(logits, patches, batch.labels, batch.label_lengths)
    ctc = losses.mean_over_rows(ctc, real)
    if not hybrid:
        return ctc, {"loss": ctc, "ctc": ctc}
    logits = model.decoder(losses.decoder_inputs(batch.labels), encoded, patches, **dropout)
    attention, _ = losses.attention_loss(logits, batch.labels, batch.label_lengths, smoothing)
    attention = losses.mean_over_rows(attention, real)
    loss = settings.alpha * ctc + (1.0 - settings.alpha) * attention
    return loss, {"loss": loss, "ctc": ctc, "attention": attention}


def make_train_step(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    *,
    hybrid: bool,
    shardings: TrainState | None = None,
) -> TrainStep:
    """Compiles once per batch shape; stages that train the same parameters share it.

    Args:
        graph: from `whisper_sign.build`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`; dropout is keyed by its seed and the step.
        hybrid: whether the attention decoder takes part.
        shardings: where the state stays from step to step; None leaves it to the compiler.
    """
    # Plain numbers: what is traced must not change with the config afterwards.
    seed, ema = training.seed, training.ema
    smoothing, grad_clip = training.label_smoothing, training.grad_clip

    def train_step(
        state: TrainState, batch: Batch, settings: stages.StepSettings
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        loss_scale = state.loss_scale
        scale = jnp.ones(()) if loss_scale is None else loss_scale.scale

        def scaled_loss(params: Params) -> tuple[jax.Array, Metrics]:
            if shardings is not None:  # each device needs the whole while it computes its rows
                params = jax.lax.with_sharding_constraint(params, shardings.step)
            model = whisper_sign.bind(graph, params)
            loss, parts = batch_loss(
                model, batch, settings, smoothing, hybrid=hybrid, rngs=nnx.Rngs(dropout=key)
            )
            return loss * scale, parts

        grads, metrics = jax.grad(scaled_loss, has_aux=True)(state.params)
        if shardings is not None:
            grads = jax.lax.with_sharding_constraint(grads, shardings.params)
        grads = jax.tree.map(lambda g: g / scale, grads)
        tx = stages.make_optimizer(labels, settings, grad_clip)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
        )
        if new.ema is not None:
            new = new.replace(
                ema=jax.tree.map(lambda e, p: ema * e + (1.0 - ema) * p, new.ema, new.params)
            )
        squares = [jnp.sum(jnp.square(g)) for g in stages.trained(grads, labels)]
        metrics["grad_norm"] = jnp.sqrt(jnp.sum(jnp.stack(squares)))
        if loss_scale is not None:
            finite = jnp.isfinite(metrics["grad_norm"])
            next_scale = _next_scale(loss_scale, finite)
            new = _keep_if(finite, new, state).replace(loss_scale=next_scale)
            metrics["loss_scale"] = next_scale.scale
            metrics["overflow"] = jnp.where(finite, 0.0, 1.0)
        # A finite loss may still have sent an infinite gradient: look at what is left of the weights.
        sums = [jnp.sum(p) for p in stages.trained(new.params, labels)]
        # A loss that overflows in float16 only lowers the scale, until there is nothing to lower.
        loss_counts = jnp.isfinite(metrics["loss"]) | (scale > 1.0)
        metrics["finite"] = loss_counts & jnp.all(jnp.isfinite(jnp.stack(sums)))
        metrics["frames"] = jnp.sum(batch.frames)
        return new, metrics

    # Without these the compiler may move a parameter, and the next step would be compiled again.
    placed = None if shardings is None else (shardings, shardings.step)
    return jax.jit(train_step, donate_argnums=0, out_shardings=placed)


def _keep_if(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """The new state where gradients were finite; else the old one, but for the step's number."""
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return kept.replace(step=new.step)


def _next_scale(loss_scale: LossScale, finite: jax.Array) -> LossScale:
    """Halves the scale on overflow and doubles it after a long quiet."""
    good_steps = jnp.where(finite, loss_scale.good_steps + 1, 0)
    grow = good_steps >= _GROW_AFTER
    grown = jnp.where(grow, jnp.minimum(loss_scale.scale * 2.0, _LARGEST_SCALE), loss_scale.scale)
    scale = jnp.where(finite, grown, jnp.maximum(loss_scale.scale * 0.5, 1.0))
    return LossScale(scale, jnp.where(grow, 0, good_steps))

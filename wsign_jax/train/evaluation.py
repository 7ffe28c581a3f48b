"""The core of evaluation: weights and batches in, counts out. The loop and the report both call it."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from wsign_jax.data.layout import Split
from wsign_jax.data.pipeline import Batch, evaluation_batches
from wsign_jax.decode.greedy import Hypotheses, greedy
from wsign_jax.metrics import EditCounts, edit_counts
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import losses
from wsign_jax.train import state as train_state
from wsign_jax.train.setup import Network, evaluation_loader
from wsign_jax.train.stages import StepSettings


class EvalOutputs(NamedTuple):
    """What one batch gives, per row."""

    ctc: jax.Array  # (B,) loss
    attention: jax.Array  # (B,) loss of the attention decoder, teacher-forced
    hits: jax.Array  # (B,) targets that the attention decoder's likeliest id hits
    patches: jax.Array  # (B,) valid patches
    hypotheses: Hypotheses
    example: jax.Array  # (B,) index into the split, -1 in a masked row


EvalStep = Callable[[Params, Batch, StepSettings], EvalOutputs]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's result on a split."""

    loss: float
    edits: EditCounts
    sentences: int
    blank_rate: float  # share of valid patches whose best id is the blank
    token_accuracy: float  # of the attention decoder, fed with the true glosses
    hypotheses: dict[int, list[int]]  # by index into the split


def make_eval_step(network: Network, config: ConfigDict) -> EvalStep:
    """Compiles once per batch shape; every process gets every row."""
    smoothing = config.training.label_smoothing
    everywhere = train_state.replicated(network.mesh)

    def eval_step(params: Params, batch: Batch, settings: StepSettings) -> EvalOutputs:
        whole = jax.lax.with_sharding_constraint(params, everywhere)
        model = whisper_sign.bind(network.graph, whole)
        encoded, patches = model.encode(
            batch.features, batch.frames, chunk=settings.chunk, left_context=settings.left_context
        )
        logits = model.ctc_logits(encoded)
        tokens = losses.decoder_inputs(batch.labels)
        attention, hits = losses.attention_loss(
            model.decoder(tokens, encoded, patches, deterministic=True),
            batch.labels,
            batch.label_lengths,
            smoothing,
        )
        return EvalOutputs(
            losses.ctc_loss(logits, patches, batch.labels, batch.label_lengths),
            attention,
            hits,
            patches,
            greedy(logits, patches),
            jnp.copy(batch.example),
        )

    return jax.jit(eval_step, out_shardings=everywhere)


def evaluate(
    eval_step: EvalStep,
    params: Params,
    split: Split,
    batches: Iterable[Batch],
    settings: StepSettings,
    mesh: Mesh,
) -> Evaluation:
    """Runs a model over a split.

    Args:
        eval_step: from `make_eval_step`.
        params: the weights.
        split: where the references are.
        batches: its examples, each once, rows of this process.
        settings: the attention window, and the alpha that weighs the two losses.
        mesh: to spread the batches over.
    """
    edits = EditCounts()
    hypotheses: dict[int, list[int]] = {}
    loss = hits = blanks = patches = 0.0
    for batch in batches:
        out = jax.device_get(eval_step(params, train_state.put_batch(batch, mesh), settings))
        real = out.example >= 0
        alpha = float(settings.alpha)
        loss += float(np.sum((alpha * out.ctc + (1 - alpha) * out.attention)[real], dtype=float))
        hits += int(out.hits[real].sum())
        blanks += int(out.hypotheses.blanks[real].sum())
        patches += int(out.patches[real].sum())
        for row in np.flatnonzero(real):
            example = int(out.example[row])
            length = int(out.hypotheses.label_lengths[row])
            hypotheses[example] = out.hypotheses.labels[row, :length].tolist()
            edits += edit_counts(split.labels[example].tolist(), hypotheses[example])
    sentences = len(hypotheses)
    return Evaluation(
        loss=loss / sentences,
        edits=edits,
        sentences=sentences,
        blank_rate=blanks / patches,
        token_accuracy=hits / (edits.ref_glosses + sentences),
        hypotheses=hypotheses,
    )


def evaluate_split(
    config: ConfigDict,
    split: Split,
    eval_step: EvalStep,
    params: Params,
    alpha: float,
    network: Network,
) -> Evaluation:
    """Evaluates weights on a whole split under the attention window of `config.eval`.

    Args:
        config: the run's.
        split: what to evaluate on.
        eval_step: from `make_eval_step`.
        params: the weights.
        alpha: share of CTC in the loss that is reported.
        network: whose mesh the batches are spread over.
    """
    settings = StepSettings(
        alpha=np.float32(alpha),
        chunk=np.int32(config.eval.chunk or FULL_ATTENTION),
        left_context=np.int32(config.eval.left_context),
    )
    batches = evaluation_batches(
        evaluation_loader(config, split), config.eval.batch_size, config.data.max_buckets
    )
    return evaluate(eval_step, params, split, batches, settings, network.mesh)

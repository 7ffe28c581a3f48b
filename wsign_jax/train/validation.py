"""The core of evaluation: weights and batches in, counts out. The loop and the report both call it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from wsign_jax.data import pipeline
from wsign_jax.data.buckets import find_buckets
from wsign_jax.data.layout import Split
from wsign_jax.data.pipeline import Batch
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.greedy import count_blanks, ctc_greedy
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.decode.ranking import gloss_ranks
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import Params
from wsign_jax.report.metrics import EditCounts, edit_counts
from wsign_jax.report.tasks import Task, task_measures
from wsign_jax.train import losses, sharding
from wsign_jax.train.run import Network, max_buckets, process_rows
from wsign_jax.train.stages import StepSettings

T = TypeVar("T")


class EvalOutputs(NamedTuple):
    """The results of one batch, per row; every process has every row."""

    ctc: jax.Array  # (B,) loss
    attention: jax.Array  # (B,) loss of the attention decoder, teacher-forced
    hits: jax.Array  # (B,) targets that the attention decoder's likeliest id hits
    patches: jax.Array  # (B,) valid patches
    blanks: jax.Array  # (B,) valid patches whose best id is the blank
    greedy: Beams  # of one hypothesis
    ranks: jax.Array | None  # (B,) place of the first true gloss among all; only for single signs
    example: jax.Array  # (B,) index into the split, -1 in a masked row


class EncodedBatch(NamedTuple):
    """The inputs that one batch gives to a decoder; every process has every row."""

    states: jax.Array  # (B, N, D)
    log_probs: jax.Array  # (B, N, V) of CTC
    patches: jax.Array  # (B,) valid patches
    hits: jax.Array  # (B,) as in `EvalOutputs`
    example: jax.Array  # (B,) index into the split, -1 in a masked row


EvalStep = Callable[[Params, Batch, StepSettings], EvalOutputs]
EncodeStep = Callable[[Params, Batch, StepSettings], EncodedBatch]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's result on a split."""

    loss: float
    edits: EditCounts
    sentences: int
    blank_rate: float  # share of valid patches whose best id is the blank
    token_accuracy: float  # of the attention decoder, fed with the true glosses
    hypotheses: dict[int, list[int]]  # by index into the split
    measures: Mapping[str, float] = dataclasses.field(default_factory=dict)  # of the split's task

    @property
    def scalars(self) -> dict[str, float]:
        """The figures by the names under which they are logged."""
        return {
            "val/loss": self.loss,
            "val/wer": self.edits.wer,
            "val/blank_rate": self.blank_rate,
            "val/token_accuracy": self.token_accuracy,
            **{f"val/{name}": value for name, value in self.measures.items()},
        }

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.4f}" for name, value in self.scalars.items())

    def sentence(self, split: Split, vocabulary: Vocabulary) -> list[str]:
        """Returns lines that show the first sentence of the split and its hypothesis."""
        id, signed = split.ids[0], " ".join(vocabulary.glosses(split.labels[0]))
        found = " ".join(vocabulary.glosses(self.hypotheses[0])) or "(nothing)"
        return [f"{id}  reference   {signed}", f"{'':{len(id)}}  hypothesis  {found}"]


def make_eval_step(network: Network, config: ConfigDict, task: Task = "sentences") -> EvalStep:
    """Makes the loop's step: losses and greedy decoding, compiled once per batch shape.

    Each device decodes its own rows. The devices exchange only what is found there: a few numbers and
    the ids of a hypothesis for each row. For single signs it ranks the glosses, too.
    """
    smoothing = config.training.label_smoothing
    by_rows, everywhere = sharding.by_rows(network.mesh), sharding.replicated(network.mesh)

    def eval_step(params: Params, batch: Batch, settings: StepSettings) -> EvalOutputs:
        _, logits, attention_logits, patches = run_network(network, params, batch, settings)
        attention, hits = losses.attention_loss(
            attention_logits, batch.labels, batch.label_lengths, smoothing
        )
        found = EvalOutputs(
            losses.ctc_loss(logits, patches, batch.labels, batch.label_lengths),
            attention,
            hits,
            patches,
            count_blanks(logits, patches),
            ctc_greedy(logits, patches),
            gloss_ranks(logits, patches, batch.labels[:, 0]) if task == "single signs" else None,
            jnp.copy(batch.example),
        )
        # Otherwise XLA might gather the posteriors and have every device decode all rows.
        return jax.lax.with_sharding_constraint(found, by_rows)

    return jax.jit(eval_step, out_shardings=everywhere)


def make_encode_step(network: Network) -> EncodeStep:
    """Makes the step for reports: all that a decoder needs, compiled once per batch shape."""
    everywhere = sharding.replicated(network.mesh)

    def encode_step(params: Params, batch: Batch, settings: StepSettings) -> EncodedBatch:
        states, logits, attention_logits, patches = run_network(network, params, batch, settings)
        _, hits = losses.attention_loss(attention_logits, batch.labels, batch.label_lengths, 0.0)
        log_probs = jax.nn.log_softmax(logits)
        return EncodedBatch(states, log_probs, patches, hits, jnp.copy(batch.example))

    return jax.jit(encode_step, out_shardings=everywhere)


def run_network(
    network: Network, params: Params, batch: Batch, settings: StepSettings
) -> tuple[jax.Array, ...]:
    """Runs the network on a batch.

    Returns:
        States (B, N, D), CTC logits (B, N, V), the attention decoder's logits on the true glosses
        (B, U + 1, V), and valid patches (B,).
    """
    whole = jax.lax.with_sharding_constraint(params, sharding.replicated(network.mesh))
    model = whisper_sign.bind_params(network.graph, whole)
    features = model.features(batch.positions, batch.confidence, batch.frames)
    states, patches = model.encode(
        features, batch.frames, chunk=settings.chunk, left_context=settings.left_context
    )
    tokens = losses.decoder_inputs(batch.labels)
    attention_logits = model.decoder(tokens, states, patches)
    return states, model.ctc_logits(states), attention_logits, patches


def evaluate(
    eval_step: EvalStep,
    params: Params,
    split: Split,
    batches: Iterable[Batch],
    settings: StepSettings,
    mesh: Mesh,
    task: Task = "sentences",
) -> Evaluation:
    """Runs a model over a split: the devices work on a batch while the host reads the one before.

    `batches` have every example once, and only the rows of this process. `settings` have the attention
    window, and the alpha that weighs the two losses. `task` is that of the step and of the split.
    """
    edits = EditCounts()
    hypotheses: dict[int, list[int]] = {}
    ranked: list[tuple[int, int]] = []
    loss = hits = silent = patches = 0.0
    alpha = float(settings.alpha)
    computing = (eval_step(params, sharding.put_batch(batch, mesh), settings) for batch in batches)
    for out in map(jax.device_get, _one_ahead(computing)):
        real = out.example >= 0
        loss += float(np.sum((alpha * out.ctc + (1 - alpha) * out.attention)[real], dtype=float))
        hits += int(out.hits[real].sum())
        silent += int(out.blanks[real].sum())
        patches += int(out.patches[real].sum())
        for row in np.flatnonzero(real):
            example = int(out.example[row])
            length = int(out.greedy.label_lengths[row, 0])
            hypotheses[example] = out.greedy.labels[row, 0, :length].tolist()
            reference = split.labels[example].tolist()
            edits += edit_counts(reference, hypotheses[example])
            if out.ranks is not None and reference:
                ranked.append((reference[0], int(out.ranks[row])))
    sentences = len(hypotheses)
    return Evaluation(
        loss=loss / sentences,
        edits=edits,
        sentences=sentences,
        blank_rate=silent / patches,
        token_accuracy=hits / (edits.ref_glosses + sentences),
        hypotheses=hypotheses,
        measures=task_measures(task, edits, ranked),
    )


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yields the items in their order, each once the one after it has been asked for."""
    waiting = iter(items)
    before = next(waiting)
    for item in waiting:
        yield before
        before = item
    yield before


def validation_settings(config: ConfigDict, alpha: float) -> StepSettings:
    """The attention window of `config.eval`, with a loss in which CTC has the share `alpha`."""
    return StepSettings(
        alpha=np.float32(alpha),
        chunk=np.int32(config.eval.chunk or FULL_ATTENTION),
        left_context=np.int32(config.eval.left_context),
    )


def report_batches(config: ConfigDict, split: Split) -> Iterable[Batch]:
    """A split's batches for a report: each example once, only the rows of this process, read ahead."""
    rows = process_rows(config.eval.batch_size, "eval.batch_size")
    buckets = find_buckets(split.frames, max_buckets(config))
    plans = pipeline.plan_evaluation(split, buckets, config.eval.batch_size)
    loader = pipeline.BatchLoader(split, config.data, split.max_labels, rows=rows)
    return pipeline.load_ahead(loader, plans, config.data.threads)

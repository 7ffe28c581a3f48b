"""Shows a run in TensorBoard beside its curves: its config, its lengths and buckets, and pictures.

The pictures show what the model makes of one sentence of the validation split, always the same one.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from wsign_jax.data.buckets import MULTIPLE, BatchPlan, padding_efficiency
from wsign_jax.data.pipeline import Batch, BatchLoader
from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.report import metrics, pictures, snapshots
from wsign_jax.report.sentences import with_gloss_ids
from wsign_jax.report.summary import count_by_gloss
from wsign_jax.runtime import multihost
from wsign_jax.train import config_schema, losses, sharding, validation
from wsign_jax.train.metrics_log import MetricsWriter
from wsign_jax.train.run import Network, Run, Stage, process_rows
from wsign_jax.train.stages import StepSettings
from wsign_jax.train.validation import Evaluation

_STEP = 0.75  # factor from one rung of WER to the next; a stage draws each rung once


class SentenceOutputs(NamedTuple):
    """A model's outputs for a batch, on the devices or on the host."""

    log_probs: Any  # (B, N, V) of CTC
    weights: Any  # (B, U + 1, N) where the attention decoder looks, fed with the true glosses


def make_outputs_step(network: Network) -> Callable[[Params, Batch, StepSettings], SentenceOutputs]:
    """Makes the step that computes `SentenceOutputs`; every process gets every row."""
    everywhere = sharding.replicated(network.mesh)

    def compute_outputs(params: Params, batch: Batch, settings: StepSettings) -> SentenceOutputs:
        states, logits, _, patches = validation.run_network(network, params, batch, settings)
        whole = jax.lax.with_sharding_constraint(params, everywhere)
        decoder = whisper_sign.bind_params(network.graph, whole).decoder
        weights = decoder.alignment(losses.decoder_inputs(batch.labels), states, patches)
        return SentenceOutputs(jax.nn.log_softmax(logits), weights)

    return jax.jit(compute_outputs, out_shardings=everywhere)


class TensorBoardPictures:
    """Decides when to draw, and draws; nothing here changes what is trained.

    It remembers nothing, so that a resumed run draws what it would have drawn without the break.
    """

    def __init__(self, run: Run, writer: MetricsWriter):
        """Chooses the sentence to show: one of median length from the validation split."""
        self._run = run
        self._writer = writer
        self._example = int(np.argsort(run.val.frames, kind="stable")[len(run.val) // 2])
        self._outputs_step = make_outputs_step(run.network)

    def draw_start(self) -> None:
        """Draws what is known before the first step."""
        if not multihost.is_first():
            return
        config = self._run.config
        fields = config_schema.flat_fields(self._run.config_json)
        rows = "".join(f"| {name} | `{value!r}` |\n" for name, value in fields.items())
        self._writer.text(0, "config", f"| field | value |\n| --- | --- |\n{rows}")
        self._writer.hyperparameters(0, fields, ("val/wer", "val/loss"))
        loader, first = self._run.stages[0].loader, config[config.stages[0]]
        assert loader.train_plan is not None, "of training"
        epoch = loader.train_plan.epoch(0, first.batch_size)
        efficiency = padding_efficiency(epoch, loader.train_plan.frames[0])
        picture = snapshots.draw_lengths(
            self._run.train.frames, loader.train_plan.buckets, efficiency
        )
        self._writer.picture(0, "data/lengths", picture)

    def draw_validation(
        self,
        stage: Stage,
        step: int,
        params: Params,
        result: Evaluation,
        *,
        best: float,
        last: bool,
    ) -> None:
        """Draws after a validation, if the stage ends or WER is a rung below its `best` before."""
        if not last and _rung(result.edits.wer) <= _rung(best):
            return
        with multihost.all_or_none():  # before the devices of all of them compute with it
            batch = self._batch()
        settings = validation.validation_settings(self._run.config, alpha=1.0)
        outputs = SentenceOutputs(*jax.device_get(self._outputs_step(params, batch, settings)))
        if multihost.is_first():
            for tag, picture in self._pictures(stage, outputs, result):
                self._writer.picture(step, tag, picture)

    def _batch(self) -> Batch:
        """Loads a batch of the one sentence; every device gets a row, and all but one are masked."""
        val, devices = self._run.val, jax.device_count()
        rows = np.full(devices, -1, np.int32)
        rows[0] = self._example
        bucket = -(-int(val.frames[self._example]) // MULTIPLE) * MULTIPLE
        own = process_rows(devices, "eval.pictures")
        loader = BatchLoader(val, self._run.config.data, len(val.labels[self._example]), rows=own)
        return sharding.put_batch(loader(BatchPlan(0, bucket, rows)), self._run.network.mesh)

    def _pictures(
        self, stage: Stage, outputs: SentenceOutputs, result: Evaluation
    ) -> Iterator[tuple[str, bytes]]:
        """Yields tags and PNGs."""
        val, vocabulary, example = self._run.val, self._run.vocabulary, self._example
        reference, hypothesis = val.labels[example].tolist(), result.hypotheses[example]
        signed, read = (" ".join(vocabulary.glosses(ids)) for ids in (reference, hypothesis))
        title = f"{val.ids[example]}\nreference: {signed}\nhypothesis: {read}"
        frames = int(val.frames[example])
        patches = -(-frames // self._run.config.model.frontend.patch_size)
        seconds = frames / joints.FPS
        ids = list(dict.fromkeys([*reference, *hypothesis, BLANK_ID]))
        yield (
            "val/ctc",
            snapshots.draw_posteriors(
                np.exp(outputs.log_probs[0, :patches, ids]).T,
                vocabulary.glosses(ids),
                [ids.index(id) for id in reference],
                self._run.val_segments[example],
                seconds,
                title,
            ),
        )
        if stage.config.alpha < 1:  # otherwise the attention decoder does not train here
            names = [*vocabulary.glosses(reference), "(end)"]
            weights = outputs.weights[0, :, :patches]
            yield "val/attention", snapshots.draw_alignment(weights, names, seconds, title)
        yield "val/skeleton", snapshots.draw_skeleton_strip(val.features(example), title)
        alignments = []
        for index, found in result.hypotheses.items():
            labels = val.labels[index].tolist()
            alignments.append(with_gloss_ids(labels, found, metrics.align_edits(labels, found)))
        confusions = pictures.confusion_figure(count_by_gloss(alignments, vocabulary))
        if confusions is not None:
            yield "val/confusions", pictures.figure_png(confusions)


def _rung(wer: float) -> float:
    """The number of rungs by which a WER is below 1."""
    if 0 < wer < math.inf:
        return math.log(wer) // math.log(_STEP)
    return -math.inf if wer else math.inf

"""The training loop: stages one after the other, each a plain loop over planned batches."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax.data import layout, pipeline
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.errors import DivergedError, WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import checkpoint, evaluation, setup, stages
from wsign_jax.train import state as train_state
from wsign_jax.train import step as step_lib
from wsign_jax.train.setup import Run
from wsign_jax.train.state import TrainState
from wsign_jax.train.writer import MetricsWriter, Progress


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains all stages of a config, going on where an earlier run in `workdir` ended.

    Raises:
        WSignError: a person's mistake, before anything is trained or overwritten.
        DivergedError: the loss became NaN or infinite.
    """
    run = setup.prepare(config, workdir)
    checkpoints = checkpoint.Checkpoints(workdir, config.checkpoint.keep)
    try:
        trainer = _Trainer(run, checkpoints)
        trainer.run_stages()
    finally:
        checkpoints.close()


@dataclasses.dataclass(frozen=True)
class _Stage:
    """One stage with everything that is decided before its first step."""

    number: int
    name: str
    config: ConfigDict
    plans: list[BatchPlan]
    epoch_ends: frozenset[int]  # batches done at which an epoch is
    labels: Params


class _Trainer:
    """A run in progress. What changes from step to step is in TrainState; this is the rest."""

    def __init__(self, run: Run, checkpoints: checkpoint.Checkpoints):
        self.run = run
        self.config = run.config
        self.checkpoints = checkpoints
        self.stages = [self._plan_stage(number) for number in range(len(run.config.stages))]
        self.eval_step = evaluation.make_eval_step(
            run.network.graph, run.config.training.label_smoothing, run.network.mesh
        )
        self.train_steps: dict[Any, step_lib.TrainStep] = {}
        self.fingerprint = setup.fingerprint(run.train)
        self.config_json = config_lib.as_json(run.config)

    def run_stages(self) -> None:
        """Own checkpoint in the workdir first, then `init_from`, then fresh weights."""
        step = self.checkpoints.latest_step
        resumed = None if step is None else self._resumable(step)
        params = self._initial_params() if resumed is None else self._fresh_params()
        first = 0 if resumed is None else resumed.stage
        self.writer = MetricsWriter(self.run.workdir, step or 0)
        try:
            for stage in self.stages[first:]:
                state = self._start(stage, params, step or 0)
                if step is not None and resumed is not None:
                    state = self.checkpoints.restore(step, state)
                    print(f"going on from step {step} in {stage.name}", flush=True)
                state = self._train_stage(stage, state, resumed)
                params, step, resumed = state.params, int(state.step), None
        finally:
            self.writer.close()

    def _train_stage(
        self, stage: _Stage, state: TrainState, resumed: checkpoint.RunInfo | None
    ) -> TrainState:
        """Runs the batches of a stage, the first ones left out where a run is resumed."""
        step, done, total = int(state.step), 0, len(stage.plans)
        train_step = self._train_step(stage)
        batches = self._batches(stage)
        if resumed is not None:
            done = resumed.next_batch
            batches.set_state(resumed.iterator)
        best = self.checkpoints.best_wer(stage.number)
        due = _Clock(self.config.checkpoint)
        pending: Callable[[], None] | None = None
        with Progress(stage.name, done, total) as progress:
            log = _StepLog(self, stage, progress)
            while done < total:
                settings = stages.step_settings(
                    stage.config, self.config.training, step, step - done, total
                )
                batch = next(batches)
                on_devices = train_state.put_batch(batch, self.run.network.mesh)
                state, metrics = train_step(state, on_devices, settings)
                step, done = step + 1, done + 1
                # The devices work on this step while the host reads the metrics of the one before.
                if pending is not None:
                    pending()
                pending = log.later(step, batch, settings, metrics)
                validate = done in stage.epoch_ends
                if not (validate or due(step)):
                    continue
                # Nothing is saved before its loss is known to be a number.
                pending()
                pending = None
                wer = self._validate(stage, state, step, progress) if validate else None
                improved = wer is not None and wer < best
                best = min(best, math.inf if wer is None else wer)
                if improved or done == total or due(step):
                    self._save(stage, state, done, batches.get_state(), wer)
                    due.reset(step)
        return state

    def _plan_stage(self, number: int) -> _Stage:
        run, name = self.run, self.config.stages[number]
        stage_config = self.config[name]
        first = run.first_epoch(number)
        plans: list[BatchPlan] = []
        ends = []
        for epoch in range(stage_config.epochs):
            plans += run.plan.epoch(first + epoch, stage_config.batch_size)
            if (epoch + 1) % self.config.eval.every_epochs == 0:
                ends.append(len(plans))
        plans = plans[: self.config.training.max_steps or None]
        labels = stages.label_parameters(run.network.shapes, stage_config.rules, name)
        return _Stage(number, name, stage_config, plans, frozenset([*ends, len(plans)]), labels)

    def _initial_params(self) -> Params:
        """Weights of another run, or fresh ones."""
        source = self.config.init_from
        if source == "auto":
            source = self._previous_run()
        if not source:
            print("starting from fresh weights", flush=True)
            return self._fresh_params()
        folder = pathlib.Path(source)
        if not checkpoint.has_checkpoint(folder):
            raise WSignError(
                f"config.init_from: {folder} holds no checkpoint; name a run's folder, "
                "or start fresh with --config.init_from=''"
            )
        other = checkpoint.Checkpoints(folder)
        step = other.best_step
        setup.check_vocabulary(other.info(step).vocabulary, self.run.vocabulary, str(folder))
        print(f"starting from the weights of {other.path(step)}", flush=True)
        return other.restore_weights(step, self._fresh_params())

    def _previous_run(self) -> str:
        """The run of the stage before, in the folder beside this one; '' where there is none."""
        known = sorted(
            name for name in self.config if name.startswith("stage") and name != "stages"
        )
        position = known.index(self.config.stages[0])
        if position == 0:
            return ""
        folder = self.run.workdir.absolute().parent / known[position - 1]
        if checkpoint.has_checkpoint(folder):
            return str(folder)
        print(f"there is no {known[position - 1]} run in {folder}", flush=True)
        return ""

    def _fresh_params(self) -> Params:
        params = whisper_sign.init(
            self.config.model, len(self.run.vocabulary), self.config.training.seed
        )
        return jax.device_put(params, train_state.replicated(self.run.network.mesh))

    def _resumable(self, step: int) -> checkpoint.RunInfo:
        """The newest checkpoint's description, once it is sure that this run can go on from it."""
        path, info = self.checkpoints.path(step), self.checkpoints.info(step)
        differing = config_lib.differences(info.config, self.config_json)
        differing += self.checkpoints.differing_parameters(step, self.run.network.shapes)
        if differing:
            raise WSignError(
                f"{path} belongs to another run; use another --workdir, or set these back\n  "
                + "\n  ".join(differing)
            )
        setup.check_vocabulary(info.vocabulary, self.run.vocabulary, str(path))
        if info.data != self.fingerprint:
            raise WSignError(
                f"{path}: the training data changed since; restore it, or use another --workdir "
                f"with --config.init_from={self.run.workdir}"
            )
        return info

    def _start(self, stage: _Stage, params: Params, step: int) -> TrainState:
        """The state with which a stage begins."""
        print(
            f"{stage.name}: {len(stage.plans)} steps\n"
            + stages.training_table(self.run.network.shapes, stage.labels),
            flush=True,
        )
        training = self.config.training
        tx = stages.make_optimizer(stage.labels, stages.StepSettings(), training.grad_clip)
        state = train_state.create(
            params, tx, step, training.ema > 0, training.precision == "float16"
        )
        return jax.device_put(state, train_state.replicated(self.run.network.mesh))

    def _train_step(self, stage: _Stage) -> step_lib.TrainStep:
        """The compiled step; shared by stages that train the same parameters with the same loss."""
        hybrid = stage.config.alpha < 1
        key = (tuple(jax.tree.leaves(stage.labels)), hybrid)
        if key not in self.train_steps:
            training = self.config.training
            self.train_steps[key] = step_lib.make_train_step(
                self.run.network.graph,
                stage.labels,
                hybrid=hybrid,
                smoothing=training.label_smoothing,
                grad_clip=training.grad_clip,
                ema=training.ema,
                seed=training.seed,
            )
        return self.train_steps[key]

    def _batches(self, stage: _Stage) -> Any:
        rows = setup.process_rows(stage.config.batch_size, f"{stage.name}.batch_size")
        longest = max(len(labels) for labels in self.run.train.labels)
        loader = pipeline.BatchLoader(
            self.run.train, self.config.data, longest, self.run.plan, rows
        )
        return iter(pipeline.training_dataset(loader, stage.plans, self.config.data.threads))

    def _validate(self, stage: _Stage, state: TrainState, step: int, progress: Progress) -> float:
        """Logs the validation split's figures and returns its WER."""
        result = evaluate_split(
            self.config,
            self.run.val,
            self.eval_step,
            state.evaluated,
            stage.config.alpha,
            self.run.network,
        )
        self.writer.write(
            stage.name,
            step,
            {
                "val/loss": result.loss,
                "val/wer": result.edits.wer,
                "val/blank_rate": result.blank_rate,
                "val/token_accuracy": result.token_accuracy,
            },
        )
        progress.note(
            f"{stage.name} step {step}  val/wer {result.edits.wer:.4f}  "
            f"val/loss {result.loss:.3f}  val/token_accuracy {result.token_accuracy:.3f}"
        )
        return result.edits.wer

    def _save(
        self,
        stage: _Stage,
        state: TrainState,
        done: int,
        iterator: dict[str, Any],
        wer: float | None,
    ) -> None:
        info = checkpoint.RunInfo(
            stage.number, done, self.fingerprint, self.config_json, self.run.vocabulary, iterator
        )
        self.checkpoints.save(state, info, wer)


def evaluate_split(
    config: ConfigDict,
    split: layout.Split,
    eval_step: evaluation.EvalStep,
    params: Params,
    alpha: float,
    network: setup.Network,
) -> evaluation.Evaluation:
    """Evaluates weights on a split under the attention window of `config.eval`."""
    settings = stages.StepSettings(
        alpha=np.float32(alpha),
        chunk=np.int32(config.eval.chunk or FULL_ATTENTION),
        left_context=np.int32(config.eval.left_context),
    )
    batches = pipeline.evaluation_batches(
        setup.evaluation_loader(config, split), config.eval.batch_size, config.data.max_buckets
    )
    return evaluation.evaluate(eval_step, params, split, batches, settings, network.mesh)


class _Clock:
    """When the next checkpoint is due, by steps or by minutes."""

    def __init__(self, config: ConfigDict):
        self._config = config
        self._saved_at = time.monotonic()

    def __call__(self, step: int) -> bool:
        minutes = (time.monotonic() - self._saved_at) / 60
        return step % self._config.every_steps == 0 or minutes >= self._config.every_minutes

    def reset(self, step: int) -> None:
        del step
        self._saved_at = time.monotonic()


class _StepLog:
    """Turns a step's metrics into log lines once they are there."""

    def __init__(self, trainer: _Trainer, stage: _Stage, progress: Progress):
        self._trainer, self._stage, self._progress = trainer, stage, progress
        self._logged_at = time.monotonic()

    def later(
        self,
        step: int,
        batch: pipeline.Batch,
        settings: stages.StepSettings,
        metrics: step_lib.Metrics,
    ) -> Callable[[], None]:
        """What to call when the host has time to wait for this step."""

        def log() -> None:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not math.isfinite(values["loss"]):
                raise self._diverged(step, batch, values["loss"])
            now = time.monotonic()
            frames = values.pop("frames")
            scalars = {f"train/{name}": value for name, value in values.items()}
            scalars["train/lr"] = float(settings.learning_rate)
            scalars["train/frames_per_second"] = frames / (now - self._logged_at)
            computed = batch.features.shape[0] * batch.features.shape[1] * jax.process_count()
            scalars["train/padding_efficiency"] = frames / computed
            self._logged_at = now
            self._trainer.writer.write(self._stage.name, step, scalars)
            self._progress.advance(scalars)

        return log

    def _diverged(self, step: int, batch: pipeline.Batch, loss: float) -> DivergedError:
        trainer = self._trainer
        ids = [trainer.run.train.ids[example] for example in batch.example if example >= 0]
        saved = trainer.checkpoints.latest_step
        left = "none" if saved is None else str(trainer.checkpoints.path(saved))
        return DivergedError(
            f"the loss is {loss} at step {step} of {self._stage.name}; batch: {', '.join(ids)}; "
            f"last good checkpoint: {left}; lower config.{self._stage.name}.lr or look at these files"
        )

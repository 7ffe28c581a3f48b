"""The training loop: stages one after the other, each a plain loop over planned batches."""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax import hosts
from wsign_jax.data import pipeline
from wsign_jax.errors import DivergedError
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import checkpoint, evaluation, setup, stages, start
from wsign_jax.train import state as train_state
from wsign_jax.train import step as step_lib
from wsign_jax.train.setup import Run, Stage
from wsign_jax.train.state import TrainState
from wsign_jax.train.writer import MetricsWriter, Pace, Progress


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains all stages of a config, going on where an earlier run in `workdir` ended.

    Raises:
        WSignError: a person's mistake, before anything is trained or overwritten.
        DivergedError: the loss became NaN or infinite.
    """
    with hosts.all_or_none():
        run = setup.prepare(config, workdir)
    setup.check_same_run(run)
    checkpoints = checkpoint.Checkpoints(workdir, config.checkpoint.keep)
    try:
        Trainer(run, checkpoints).run_stages()
    finally:
        checkpoints.close()


class Trainer:
    """A run in progress: everything but the TrainState, which passes from step to step."""

    writer: MetricsWriter

    def __init__(self, run: Run, checkpoints: checkpoint.Checkpoints):
        self.run = run
        self.config = run.config
        self.checkpoints = checkpoints
        self.eval_step = evaluation.make_eval_step(run.network, run.config)
        self.train_steps: dict[Any, step_lib.TrainStep] = {}
        self.fingerprint = setup.fingerprint(run.train)
        self.config_json = config_lib.as_json(run.config)

    def run_stages(self) -> None:
        """Own checkpoint in the workdir first, then `init_from`, then fresh weights."""
        step = self.checkpoints.latest_step
        hosts.check_same(str(step), f"the checkpoints in {self.run.workdir}")
        if step is None:
            resumed, params, first = None, start.initial_params(self.run), 0
        else:
            resumed = start.resumable(self.run, self.checkpoints, step)
            if (resumed.stage, resumed.next_batch) == self.run.end:
                print(f"finished before, at step {step}: nothing to train", flush=True)
                return
            params, first = start.fresh_params(self.run), resumed.stage
        self.writer = MetricsWriter(self.run.workdir, step or 0)
        try:
            for stage in self.run.stages[first:]:
                state = self._begin(stage, params, step or 0)
                if step is not None and resumed is not None:
                    state = self.checkpoints.restore(step, state)
                    print(f"going on from step {step} in {stage.name}", flush=True)
                state = self._train_stage(stage, state, resumed)
                params, step, resumed = state.params, int(state.step), None
        finally:
            self.writer.close()

    def _train_stage(
        self, stage: Stage, state: TrainState, resumed: checkpoint.RunInfo | None
    ) -> TrainState:
        """Runs the batches of a stage, the first ones left out where a run is resumed."""
        step, done, total = int(state.step), 0, len(stage.plans)
        train_step = self._train_step(stage, state)
        batches = iter(
            pipeline.training_dataset(stage.loader, stage.plans, self.config.data.threads)
        )
        if resumed is not None:
            done = resumed.next_batch
            batches.set_state(resumed.iterator)
        best = self.checkpoints.best_wer(stage.number)
        save_due = checkpoint.SaveClock(self.config.checkpoint)
        pace = Pace()
        pending: Callable[[], None] | None = None
        with Progress(stage.name, done, total) as progress:
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
                pending = self._log_later(stage, step, batch, settings, metrics, pace, progress)
                validate = done in stage.epoch_ends
                if not (validate or save_due(step)):
                    continue
                # Nothing is saved before its loss is known to be a number.
                pending()
                pending = None
                wer = self._validate(stage, state, step, progress) if validate else None
                improved = wer is not None and wer < best
                best = min(best, math.inf if wer is None else wer)
                if improved or done == total or save_due(step):
                    self._save(stage, state, done, batches.get_state(), wer)
                    save_due.reset()
                pace.leave_out()
        return state

    def _begin(self, stage: Stage, params: Params, step: int) -> TrainState:
        """The state with which a stage begins: optimiser and moving average afresh."""
        table = stages.training_table(self.run.network.shapes, stage.labels)
        print(f"{stage.name}: {len(stage.plans)} steps\n{table}", flush=True)
        training = self.config.training
        tx = stages.make_optimizer(stage.labels, stages.StepSettings(), training.grad_clip)
        return train_state.create_placed(
            params,
            tx,
            step,
            training.ema > 0,
            training.precision == "float16",
            self.run.network.shapes,
        )

    def _train_step(self, stage: Stage, state: TrainState) -> step_lib.TrainStep:
        """The compiled step; shared by stages that train the same parameters with the same loss."""
        hybrid = stage.config.alpha < 1
        key = (tuple(jax.tree.leaves(stage.labels)), hybrid)
        if key not in self.train_steps:
            self.train_steps[key] = step_lib.make_train_step(
                self.run.network.graph,
                stage.labels,
                self.config.training,
                hybrid=hybrid,
                shardings=jax.tree.map(lambda x: x.sharding, state),
            )
        return self.train_steps[key]

    def _log_later(
        self,
        stage: Stage,
        step: int,
        batch: pipeline.Batch,
        settings: stages.StepSettings,
        metrics: step_lib.Metrics,
        pace: Pace,
        progress: Progress,
    ) -> Callable[[], None]:
        """What to call once the host has time to wait for a step's metrics."""

        def log() -> None:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not values.pop("finite"):
                raise self._diverged(stage, step, batch, values["loss"])
            frames = values.pop("frames")
            computed = batch.features.shape[0] * batch.features.shape[1] * jax.process_count()
            scalars = {f"train/{name}": value for name, value in values.items()} | {
                "train/lr": float(settings.learning_rate),
                "train/frames_per_second": pace.step(frames),
                "train/padding_efficiency": frames / computed,
            }
            self.writer.write(stage.name, step, scalars)
            progress.advance(scalars)

        return log

    def _diverged(
        self, stage: Stage, step: int, batch: pipeline.Batch, loss: float
    ) -> DivergedError:
        ids = [self.run.train.ids[example] for example in batch.example if example >= 0]
        saved = self.checkpoints.latest_step
        left = "none" if saved is None else str(self.checkpoints.path(saved))
        return DivergedError(
            f"the loss is {loss}{', the weights are not numbers' if math.isfinite(loss) else ''} at "
            f"step {step} of {stage.name}; batch: {', '.join(ids)}; last good checkpoint: {left}; "
            f"lower config.{stage.name}.lr, or look at these files"
        )

    def _validate(self, stage: Stage, state: TrainState, step: int, progress: Progress) -> float:
        """Logs the validation split's figures and returns its WER."""
        result = evaluation.evaluate_split(
            self.config,
            self.run.val,
            self.eval_step,
            state.evaluated,
            stage.config.alpha,
            self.run.network,
        )
        scalars = {
            "val/loss": result.loss,
            "val/wer": result.edits.wer,
            "val/blank_rate": result.blank_rate,
            "val/token_accuracy": result.token_accuracy,
        }
        self.writer.write(stage.name, step, scalars)
        figures = "  ".join(f"{name} {value:.4f}" for name, value in scalars.items())
        progress.note(f"{stage.name} step {step}  {figures}")
        return result.edits.wer

    def _save(
        self,
        stage: Stage,
        state: TrainState,
        done: int,
        iterator: dict[str, Any],
        wer: float | None,
    ) -> None:
        info = checkpoint.RunInfo(
            stage.number, done, self.fingerprint, self.config_json, self.run.vocabulary, iterator
        )
        self.checkpoints.save(state, info, wer)

"""The training loop: stages one after the other, each a plain loop over planned batches."""

import contextlib
import functools
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from wsign_jax import hosts
from wsign_jax.data import pipeline
from wsign_jax.errors import DivergedError
from wsign_jax.progress import Progress
from wsign_jax.train import evaluation, setup, stages, start
from wsign_jax.train import state as train_state
from wsign_jax.train import step as step_lib
from wsign_jax.train.ahead import Ahead, Task
from wsign_jax.train.board import Board
from wsign_jax.train.checkpoint import Checkpoints, RunInfo
from wsign_jax.train.evaluation import Evaluation
from wsign_jax.train.home import claimed
from wsign_jax.train.losses import Metrics
from wsign_jax.train.mirror import Mirror
from wsign_jax.train.schedule import Due, Schedule, Signals
from wsign_jax.train.setup import Run, Stage
from wsign_jax.train.state import TrainState
from wsign_jax.train.writer import MetricsWriter, Pace


def train(config: ConfigDict, workdir: pathlib.Path) -> bool:
    """Trains all stages of a config, going on where an earlier run in `workdir` ended.

    Returns:
        Whether the run is finished; False where a signal stopped it and its state was saved.

    Raises:
        WSignError: a person's mistake, before anything is trained or overwritten; or a full disk.
        DivergedError: the loss became NaN or infinite.
    """
    with contextlib.ExitStack() as stack:
        with hosts.all_or_none():
            stack.enter_context(claimed(workdir))
            run = setup.prepare(config, workdir)
        setup.check_same_run(run)
        saved = stack.enter_context(
            contextlib.closing(Checkpoints(workdir, config.checkpoint.keep))
        )
        mirror = None
        if config.checkpoint.mirror and hosts.is_first():
            mirror = Mirror(pathlib.Path(config.checkpoint.mirror), workdir, print)
            stack.enter_context(contextlib.closing(mirror))
        signals = stack.enter_context(Signals())
        schedule = Schedule(config.checkpoint, run.network.mesh, signals)
        ahead = stack.enter_context(Ahead())
        finished = Trainer(run, saved, schedule, ahead, mirror).run_stages()
    if not finished:
        left = "nothing to save yet" if saved.latest_step is None else saved.path(saved.latest_step)
        print(f"stopped by {signals.caught}: {left}", flush=True)
    return finished


class Trainer:
    """A run in progress: everything but the TrainState, which passes from step to step."""

    writer: MetricsWriter
    board: Board | None = None  # where config.eval.pictures is off

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        schedule: Schedule,
        ahead: Ahead,
        mirror: Mirror | None = None,
    ):
        self.run = run
        self.config = run.config
        self.checkpoints = checkpoints
        self.schedule = schedule
        self.mirror = mirror
        self.ahead = ahead
        self.eval_step = evaluation.make_eval_step(run.network, run.config)
        self.train_steps: dict[Any, step_lib.TrainStep] = {}
        self._unconfirmed = False  # whether a checkpoint is being written

    def run_stages(self) -> bool:
        """Runs what is left of the stages; returns False where a signal came in between."""
        resumed = start.resume(self.run, self.checkpoints, self.mirror)
        if self.mirror is not None:
            self.mirror.update()  # a killed run may not have come to it; and what is wrong is said now
        if resumed is None:
            load = start.initial_params(self.run)  # or says at once what is wrong
            self.ahead.prepare(self._programs(0, 0))
            params, step, first = load(), 0, 0
        elif (resumed.info.stage, resumed.info.next_batch) == self.run.end:
            print(f"finished before, at step {resumed.step}: nothing to train", flush=True)
            return True
        else:
            params, step, first = resumed.state.params, resumed.step, resumed.info.stage
            self.ahead.prepare(self._programs(first, resumed.info.next_batch))
        self.writer = MetricsWriter(self.run.workdir, step)
        finished = True
        try:
            if self.config.eval.pictures:
                self.board = Board(self.run, self.writer)
                if resumed is None:
                    self.board.begin()
            for stage in self.run.stages[first:]:
                if self.schedule.stopping:
                    break
                shapes = self.run.network.shapes
                table = stages.training_table(shapes, stage.labels, stage.rates)
                print(f"{stage.name}: {len(stage.plans)} steps\n{table}", flush=True)
                if resumed is None:
                    state, info = start.begin(self.run, stage, params, step), None
                else:
                    state, info = resumed.state, resumed.info
                    print(f"going on from step {step} in {stage.name}", flush=True)
                state, finished = self._train_stage(stage, state, info)
                if not finished:
                    break
                params, step, resumed = state.params, int(state.step), None
            self.checkpoints.wait()
            self._confirm_save()
        finally:
            self.writer.close()
        return finished and not self.schedule.stopping

    def _train_stage(
        self, stage: Stage, state: TrainState, info: RunInfo | None
    ) -> tuple[TrainState, bool]:
        """Runs the batches of a stage, the first ones left out where a run is resumed.

        Returns:
            The state after the last step, and False where a signal asked to stop.
        """
        step, done, total, best = int(state.step), 0, len(stage.plans), math.inf
        train_step = self._train_step(stage)
        batches = iter(
            pipeline.training_dataset(stage.loader, stage.plans, self.config.data.threads)
        )
        if info is not None:
            done, best = info.next_batch, math.inf if info.best_wer is None else info.best_wer
            batches.set_state(info.iterator)
        due, pace = Due.NOTHING, Pace()
        pending: Callable[[], None] | None = None
        with Progress(stage.name, done, total, "steps") as progress:
            while done < total:
                settings = stages.step_settings(
                    stage.config, self.config.training, step, step - done, total
                )
                batch = next(batches)
                on_devices = train_state.put_batch(batch, self.run.network.mesh)
                state, metrics = self.ahead.run(train_step, state, on_devices, settings)
                step, done = step + 1, done + 1
                # The devices work on this step while the host reads the metrics of the one before.
                if pending is not None:
                    pending()
                pending = self._log_later(stage, step, batch, settings, metrics, pace, progress)
                for message in self.ahead.messages():
                    progress.note(message)
                self._confirm_save()
                due = self.schedule(step)
                validate = done in stage.epoch_ends
                if not (validate or due):
                    continue
                # Nothing is saved before its loss is known to be a number.
                pending()
                pending = None
                jax.block_until_ready(state)  # which comes after its metrics
                wer, improved = None, False
                if validate:
                    result = self._validate(stage, state, step, progress)
                    if self.board is not None:
                        self.board.show(
                            stage, step, state.evaluated, result, best=best, last=done == total
                        )
                    wer = result.edits.wer
                    improved, best = wer < best, min(best, wer)
                if improved or due or done == total:
                    self._save(stage, state, done, batches.get_state(), wer, best)
                if due is Due.STOP:
                    break
                pace.leave_out()
        return state, due is not Due.STOP

    def _programs(self, first: int, done: int) -> Iterator[Task]:
        """What is left of the run will need, about in the order in which it will.

        Args:
            first: the stage to go on in.
            done: its batches that are done.
        """
        mesh, window = self.run.network.mesh, evaluation.window(self.config, alpha=0.0)
        plans = evaluation.plans(self.config, self.run.val)
        validation = dict.fromkeys(plan.bucket for plan in plans)
        for stage in self.run.stages[first:]:
            state, step = start.shapes(self.run, stage), self._train_step(stage)
            # One of every shape: they all have the stage's number of rows.
            for frames in dict.fromkeys(plan.bucket for plan in stage.plans[done:]):
                rows = stage.config.batch_size
                batch = train_state.batch_shapes(rows, frames, self.run.train.max_labels, mesh)
                yield Task(stage.name, step, (state, batch, stages.StepSettings()))
            for frames in validation:
                rows = self.config.eval.batch_size
                batch = train_state.batch_shapes(rows, frames, self.run.val.max_labels, mesh)
                yield Task("validation", self.eval_step, (state.evaluated, batch, window))
            done = 0

    def _train_step(self, stage: Stage) -> step_lib.TrainStep:
        """The compiled step; shared by stages that train the same parameters with the same loss."""
        key = (*jax.tree.leaves((stage.labels, stage.rates)), stage.config.alpha < 1)
        if key not in self.train_steps:
            self.train_steps[key] = start.train_step(self.run, stage)
        return self.train_steps[key]

    def _log_later(
        self,
        stage: Stage,
        step: int,
        batch: pipeline.Batch,
        settings: stages.StepSettings,
        metrics: Metrics,
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
            progress.advance(*_figures(scalars))

        return log

    def _diverged(
        self, stage: Stage, step: int, batch: pipeline.Batch, loss: float
    ) -> DivergedError:
        ids = [self.run.train.ids[example] for example in batch.example if example >= 0]
        self.checkpoints.wait()
        saved = self.checkpoints.latest_step
        left = "none" if saved is None else str(self.checkpoints.path(saved))
        return DivergedError(
            f"the loss is {loss}{', its gradient is no number' if math.isfinite(loss) else ''} at "
            f"step {step} of {stage.name}; batch: {', '.join(ids)}; last good checkpoint: {left}; "
            f"lower config.{stage.name}.lr, or look at these files"
        )

    def _validate(
        self, stage: Stage, state: TrainState, step: int, progress: Progress
    ) -> Evaluation:
        """Evaluates the validation split and logs its figures."""
        result = evaluation.evaluate_split(
            self.config,
            self.run.val,
            functools.partial(self.ahead.run, self.eval_step),
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
        return result

    def _save(
        self,
        stage: Stage,
        state: TrainState,
        done: int,
        iterator: dict[str, Any],
        wer: float | None,
        best: float,
    ) -> None:
        """Starts to save; what was logged up to here reaches the disk first."""
        info = RunInfo(
            stage=stage.number,
            next_batch=done,
            val_wer=wer,
            best_wer=None if math.isinf(best) else best,
            data=self.run.fingerprint,
            config=self.run.config_json,
            vocabulary=self.run.vocabulary,
            iterator=iterator,
        )
        self.writer.flush()
        stalled = self.checkpoints.save(state, info)
        self.schedule.saved()
        self.writer.write(stage.name, int(state.step), {"checkpoint/stall_seconds": stalled})
        self._unconfirmed = True

    def _confirm_save(self) -> None:
        """Mirrors a checkpoint once it is known to be whole; raises if it could not be written."""
        if self._unconfirmed and not self.checkpoints.saving:
            self._unconfirmed = False
            if self.mirror is not None:
                self.mirror.update()


def _figures(scalars: dict[str, float]) -> tuple[str, str]:
    """What to show of a step's scalars, and in short."""
    loss = f"loss {scalars['train/loss']:.3f}  {scalars['train/frames_per_second']:,.0f} frames/s"
    efficiency = f"efficiency {scalars['train/padding_efficiency']:.2f}"
    return f"{loss}  padding {efficiency}", f"{loss}  {efficiency}"

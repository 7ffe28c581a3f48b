"""The training loop: stages one after the other, each a plain loop over planned batches."""

import contextlib
import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.common.errors import DivergedError, one_line
from wsign_jax.common.progress import Progress
from wsign_jax.data import pipeline
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.report.tasks import find_task
from wsign_jax.runtime import multihost, process
from wsign_jax.train import initial_weights, resume, sharding, stages
from wsign_jax.train.adaptation import ReplayGuard
from wsign_jax.train.checkpoint.mirror import Mirror
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.checkpoint.store import Checkpoints
from wsign_jax.train.checkpoint.workdir import claim_run_folder
from wsign_jax.train.compile_ahead import BackgroundCompiler, CompileTask
from wsign_jax.train.losses import Metrics
from wsign_jax.train.metrics_log import MetricsWriter, Pace
from wsign_jax.train.run import (
    Run,
    Stage,
    begin_stage,
    check_same_run,
    prepare_run,
    stage_shapes,
    stage_step,
)
from wsign_jax.train.save_policy import READER_GONE, Due, SaveSchedule, Signals, outlive_reader
from wsign_jax.train.state import TrainState, batch_shapes, copy_state
from wsign_jax.train.tensorboard_pictures import TensorBoardPictures
from wsign_jax.train.validation import Evaluation, evaluate, make_eval_step, validation_settings

_NO_KEYPOINT = 100.0  # picture widths; no tracker finds a hand farther away


def train(config: ConfigDict, workdir: pathlib.Path) -> bool:
    """Trains all stages of a config, going on where an earlier run in `workdir` ended.

    Returns:
        Whether the run is finished; False if a signal stopped it and its state was saved.

    Raises:
        WSignError: a person's mistake, found before anything is trained or overwritten; or a full
            disk.
        DivergedError: the loss became NaN or infinite.
        BrokenPipeError: nobody reads the run's output any more, which stops it like a signal.
    """
    with contextlib.ExitStack() as stack:
        with multihost.all_or_none():
            stack.enter_context(claim_run_folder(workdir))
            run = prepare_run(config, workdir)
        check_same_run(run)
        saved = stack.enter_context(
            contextlib.closing(Checkpoints(workdir, config.checkpoint.keep))
        )
        mirror = None
        if config.checkpoint.mirror and multihost.is_first():
            programs = process.portable_programs()
            mirror = Mirror(pathlib.Path(config.checkpoint.mirror), workdir, print, programs)
            stack.enter_context(contextlib.closing(mirror))
            mirror.bring_programs()
        signals = stack.enter_context(Signals())
        stack.enter_context(outlive_reader(signals))
        schedule = SaveSchedule(config.checkpoint, run.network.mesh, signals)
        compiler = stack.enter_context(BackgroundCompiler())
        finished = Trainer(run, saved, schedule, compiler, mirror).run_stages()
    if not finished:
        left = "nothing to save yet" if saved.latest_step is None else saved.path(saved.latest_step)
        print(f"stopped by {signals.caught}: {left}", flush=True)
    if signals.caught == READER_GONE:
        raise BrokenPipeError
    return finished


class Trainer:
    """A run in progress: everything but the TrainState, which passes from step to step."""

    writer: MetricsWriter
    pictures: TensorBoardPictures | None = None  # None if config.eval.pictures is off

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        schedule: SaveSchedule,
        compiler: BackgroundCompiler,
        mirror: Mirror | None = None,
    ):
        self.run = run
        self.config = run.config
        self.checkpoints = checkpoints
        self.schedule = schedule
        self.mirror = mirror
        self.compiler = compiler
        self.task = find_task(run.val.labels, run.vocabulary)
        self.guard = ReplayGuard(run.workdir) if run.guard_loader else None
        self.eval_step = make_eval_step(run.network, run.config, self.task)
        self.train_steps: dict[Any, jax.stages.Wrapped] = {}
        # A copy of the best state of the stage, and what belongs to it, until the next save.
        self._best: tuple[TrainState, RunInfo] | None = None

    def run_stages(self) -> bool:
        """Runs what is left of the stages; returns False if a signal came in between."""
        resumed = resume.resume(self.run, self.checkpoints, self.mirror)
        if self.mirror is not None:
            self.mirror.update()  # a killed run may not have done so; and trouble is reported now
        if resumed is None:
            load = initial_weights.initial_params(self.run)  # raises at once if something is wrong
            self.compiler.prepare(self._programs(0, 0))
            params, step, first = load(), 0, 0
        elif (resumed.info.stage, resumed.info.next_batch) == self.run.end:
            print(f"finished before, at step {resumed.step}: nothing to train", flush=True)
            return True
        else:
            params, step, first = resumed.state.params, resumed.step, resumed.info.stage
            if self.guard is not None:
                _ = self.guard.first  # raises at once if it is gone
            self.compiler.prepare(self._programs(first, resumed.info.next_batch))
        self.writer = MetricsWriter(self.run.workdir, step)
        finished, state = True, None
        try:
            if self.config.eval.pictures:
                self.pictures = TensorBoardPictures(self.run, self.writer)
                if resumed is None:
                    _draw(print, self.pictures.draw_start)
            for stage in self.run.stages[first:]:
                if self.schedule.stopping:
                    break
                shapes = self.run.network.shapes
                table = stages.training_table(shapes, stage.labels, stage.rates)
                print(f"{stage.name}: {len(stage.plans)} steps\n{table}", flush=True)
                if resumed is None:
                    state, info = begin_stage(self.run, stage, params, step), None
                else:
                    state, info = resumed.state, resumed.info
                    print(f"going on from step {step} in {stage.name}", flush=True)
                state, finished = self._train_stage(stage, state, info)
                if not finished:
                    break
                params, step, resumed = state.params, int(state.step), None
            self.checkpoints.wait(state)
            self._confirm_save()
        finally:
            self.writer.close()
        return finished and not self.schedule.stopping

    def _train_stage(
        self, stage: Stage, state: TrainState, info: RunInfo | None
    ) -> tuple[TrainState, bool]:
        """Runs the batches of a stage; a resumed run leaves out those that are done.

        Returns:
            The state after the last step, and False if a signal asked to stop.
        """
        step, done, total, best = int(state.step), 0, len(stage.plans), math.inf
        train_step = self._train_step(stage)
        batches = iter(pipeline.load_ahead(stage.loader, stage.plans, self.config.data.threads))
        if info is not None:
            done, best = info.next_batch, math.inf if info.best_wer is None else info.best_wer
            batches.set_state(info.iterator)
        due, pace = Due.NOTHING, Pace()
        pending: Callable[[], None] | None = None
        with Progress(stage.name, done, total, "steps") as progress:
            if info is None and self.config.data.replay:
                best = self._begin_adaptation(stage, state, batches.get_state(), progress)
            while done < total:
                settings = stages.step_settings(
                    stage.config, self.config.training, step, step - done, total
                )
                batch = next(batches)
                on_devices = sharding.put_batch(batch, self.run.network.mesh)
                state, metrics = self.compiler.run(train_step, state, on_devices, settings)
                step, done = step + 1, done + 1
                # The devices work on this step while the host reads the metrics of the one before.
                if pending is not None:
                    pending()
                pending = self._log_later(stage, step, batch, settings, metrics, pace, progress)
                for message in self.compiler.messages():
                    progress.note(message)
                self._confirm_save()
                due = self.schedule(step)
                validate = done in stage.epoch_ends
                if not (validate or due):
                    continue
                # A state is saved only once its loss is known to be a number.
                pending()
                pending = None
                result, before = None, best
                if validate:
                    result = self._validate(stage, state, step, progress)
                    if self._has_gone_too_far(stage, state, step, progress):
                        result, done = None, total  # these weights are no candidate for the best
                    else:
                        best = min(best, result.edits.wer)
                info = self._about(stage, done, result, best, batches.get_state())
                if due or done == total:
                    self._save(state, info)
                elif best < before:
                    self._best = copy_state(state), info
                if result is not None and self.pictures is not None:
                    show = functools.partial(
                        self.pictures.draw_validation, best=before, last=done == total
                    )
                    _draw(progress.note, show, stage, step, state.evaluated, result)
                if due is Due.STOP:
                    break
                pace.leave_out()
        return state, due is not Due.STOP

    def _programs(self, first: int, done: int) -> Iterator[CompileTask]:
        """Yields the programs that the rest of the run needs, about in the order of their use.

        Args:
            first: the number of the stage to go on in.
            done: how many of its batches are done.
        """
        mesh, window = self.run.network.mesh, validation_settings(self.config, alpha=0.0)
        plans = self.run.val_plans + self.run.guard_plans
        validation = {plan.bucket: len(plan.rows) for plan in plans}
        for stage in self.run.stages[first:]:
            state = stage_shapes(self.run.network, self.config.training, stage.labels)
            step = self._train_step(stage)
            # One program for every length: all batches have the stage's number of rows.
            for frames in dict.fromkeys(plan.bucket for plan in stage.plans[done:]):
                rows = stage.config.batch_size
                batch = batch_shapes(
                    rows, frames, self.run.train.max_labels, mesh, self.config.data.augment.speed
                )
                yield CompileTask(stage.name, step, (state, batch, stages.StepSettings()))
            for frames, rows in validation.items():
                batch = batch_shapes(rows, frames, self.run.val_loader.max_labels, mesh)
                yield CompileTask("validation", self.eval_step, (state.evaluated, batch, window))
            done = 0

    def _train_step(self, stage: Stage) -> jax.stages.Wrapped:
        """The stage's step; stages share it if they train the same parameters with the same loss."""
        leaves, structure = jax.tree.flatten((stage.labels, stage.rates))
        key = (*leaves, structure, stage.config.alpha < 1)
        if key not in self.train_steps:
            self.train_steps[key] = stage_step(self.run, stage)
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
        """Returns what logs a step's metrics, to call once the host has time to wait for them."""

        def log() -> None:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if not values.pop("finite"):
                raise self._diverged(stage, step, batch, values["loss"])
            frames = values.pop("frames")
            computed = len(batch.frames) * batch.length * jax.process_count()
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
        if self._best is not None:
            self._save(*self._best)
        self.checkpoints.wait()
        saved = self.checkpoints.latest_step
        left = "none" if saved is None else str(self.checkpoints.path(saved))
        advice = f"lower config.{stage.name}.lr, or look at these files"
        largest = float(np.abs(batch.positions).max())
        if not largest < _NO_KEYPOINT:
            advice = f"its keypoints reach {largest:g}: look at these files, and at 'aspect'"
        return DivergedError(
            f"the loss is {loss}{', its gradient is no number' if math.isfinite(loss) else ''} at "
            f"step {step} of {stage.name}; batch: {', '.join(ids)}; last good checkpoint: {left}; "
            f"{advice}"
        )

    def _validate(
        self, stage: Stage, state: TrainState, step: int, progress: Progress
    ) -> Evaluation:
        """Evaluates the validation split, logs its figures, and shows its first sentence."""
        run = self.run
        result = self._evaluate(stage, state, run.val_loader, run.val_plans)
        self.writer.write(stage.name, step, result.scalars)
        progress.note(f"{stage.name} step {step}  {result}")
        progress.note("\n".join(result.sentence(run.val, run.vocabulary)))
        return result

    def _evaluate(
        self,
        stage: Stage,
        state: TrainState,
        loader: pipeline.BatchLoader,
        plans: Sequence[BatchPlan],
    ) -> Evaluation:
        return evaluate(
            functools.partial(self.compiler.run, self.eval_step),
            state.evaluated,
            loader.split,
            pipeline.load_ahead(loader, plans, self.config.data.threads),
            validation_settings(self.config, stage.config.alpha),
            self.run.network.mesh,
            self.task,
        )

    def _begin_adaptation(
        self, stage: Stage, state: TrainState, iterator: dict[str, Any], progress: Progress
    ) -> float:
        """Validates and saves the weights that an adaptation begins with, the first candidate.

        Returns:
            Their WER.
        """
        step = int(state.step)
        result = self._validate(stage, state, step, progress)
        if self.guard is not None:
            self.guard.begin(self._replay_wer(stage, state, step, progress), self.config.init_from)
        self._save(state, self._about(stage, 0, result, result.edits.wer, iterator))
        return result.edits.wer

    def _replay_wer(self, stage: Stage, state: TrainState, step: int, progress: Progress) -> float:
        """Returns the WER of the replayed data's validation split, and logs it."""
        assert self.run.guard_loader is not None, "there is a guard"
        wer = self._evaluate(stage, state, self.run.guard_loader, self.run.guard_plans).edits.wer
        self.writer.write(stage.name, step, {"val/replay_wer": wer})
        progress.note(f"{stage.name} step {step}  val/replay_wer {wer:.4f}")
        return wer

    def _has_gone_too_far(
        self, stage: Stage, state: TrainState, step: int, progress: Progress
    ) -> bool:
        """Whether an adaptation has cost the others too much."""
        if self.guard is None:
            return False
        wer = self._replay_wer(stage, state, step, progress)
        if behind := self.guard.is_behind(wer):
            progress.note(
                f"the replayed data's WER has risen from {self.guard.first:.4f} to {wer:.4f}: training "
                "ends here, and the best weights before stay"
            )
        return behind

    def _about(
        self,
        stage: Stage,
        done: int,
        result: Evaluation | None,
        best: float,
        iterator: dict[str, Any],
    ) -> RunInfo:
        """The information on the run that a checkpoint stores."""
        return RunInfo(
            stage=stage.number,
            next_batch=done,
            val_wer=None if result is None else result.edits.wer,
            best_wer=None if math.isinf(best) else best,
            data=self.run.fingerprint,
            config=self.run.config_json,
            vocabulary=self.run.vocabulary,
            iterator=iterator,
        )

    def _save(self, state: TrainState, info: RunInfo) -> None:
        """Starts to save, once everything logged so far is on the disk, and the best state before.

        So the best state up to a checkpoint is always among the checkpoints, and yet no state is
        written outside of the schedule.
        """
        best = None if info.val_wer == info.best_wer else self._best  # otherwise it is this one
        self._best = None
        if best is not None:
            self._save(*best)
        self.writer.flush()
        stalled = self.checkpoints.save(state, info)
        self.schedule.saved()
        stage = self.config.stages[info.stage]
        self.writer.write(stage, int(state.step), {"checkpoint/stall_seconds": stalled})

    def _confirm_save(self) -> None:
        """Mirrors a checkpoint once it is known to be whole.

        Raises:
            WSignError: it could not be written.
        """
        whole = self.checkpoints.poll()
        if whole is False:
            self.schedule.save_soon()
        elif whole and self.mirror is not None:
            self.mirror.update()


def _draw(say: Callable[[str], None], draw: Callable[..., None], *arguments: Any) -> None:
    """Draws a picture; an error is only a warning, since no picture is worth a run."""
    try:
        draw(*arguments)
    except Exception as error:
        say(f"warning: a picture was not drawn ({one_line(error)})")


def _figures(scalars: dict[str, float]) -> tuple[str, str]:
    """Returns the text that shows a step's scalars, in full and in short."""
    loss = f"loss {scalars['train/loss']:.3f}  {scalars['train/frames_per_second']:,.0f} frames/s"
    efficiency = f"efficiency {scalars['train/padding_efficiency']:.2f}"
    return f"{loss}  padding {efficiency}", f"{loss}  {efficiency}"

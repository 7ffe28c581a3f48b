"""python -m tools.benchmark.loader [--sentences=320 --rounds=5 --steps=8] [--json=FILE]

Measures the input of training at base size, on sentences as long as PHOENIX-2014's:

    padding     real frames among those computed, and shapes that are compiled, for an epoch of as many
                sentences as the corpus has for training; the epoch is only planned
    loader      sentences per second in batches of 16, and milliseconds of a core for each: in the first
                epoch from files and from packed shards, and in a later one, for which they are kept in
                memory. They take turns; the figures are medians over the rounds. The files were just
                written, so that the system still has them in memory
    training    sentences per second of steps of stage 2, in the manner of the training loop, and the
                share of their time in which the loop waits for a batch. All batches have the length
                that most batches have, so that there is one shape to compile

The ratio is the loader's rate in a later epoch over training's.
"""

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from tools.benchmark import figures, phoenix
from wsign_jax.data import layout, pack, pipeline, storage
from wsign_jax.data.buckets import BatchPlan, padding_efficiency
from wsign_jax.runtime import process
from wsign_jax.train import initial_weights, sharding, stages
from wsign_jax.train.run import Run, begin_stage, plan_training, prepare_run, stage_step

_SHARD = 256  # examples in each


def corpus() -> layout.Split:
    """A split of as many sentences as the corpus has, which has only their lengths."""
    frames = phoenix.lengths()
    return layout.Split(
        root=pathlib.Path(),
        name="train",
        ids=tuple(map(str, range(len(frames)))),
        frames=frames.astype(np.int32),
        labels=tuple(np.arange(phoenix.glosses_in(int(n))) for n in frames),
        aspect=1.0,
        skipped=0,
        examples=storage.FileExamples(pathlib.Path()),
    )


def padding() -> dict[str, float]:
    """The figures of an epoch's plan."""
    config = base.get_config()
    plan = plan_training(config, corpus())
    batches = plan.epoch(0, config.stage2.batch_size)
    return {
        "padding_efficiency": padding_efficiency(batches, plan.frames[0]),
        "shapes": len({batch.bucket for batch in batches}),
    }


def training_config(root: pathlib.Path, epochs: int, size: str) -> ConfigDict:
    """Stage 2 of base.py on a data set."""
    config = base.get_config()
    config.data.dir, config.model.size = str(root), size
    config.stages = ("stage2",)
    config.stage2.epochs = epochs
    return config


def rate(
    loader: pipeline.BatchLoader, plans: Sequence[BatchPlan], threads: int
) -> tuple[float, float]:
    """Sentences per second that come out of the loader, and milliseconds of a core for each."""
    began, core = time.perf_counter(), time.process_time()
    read = sum(
        np.count_nonzero(batch.example >= 0)
        for batch in pipeline.load_ahead(loader, plans, threads)
    )
    core = time.process_time() - core
    return float(read / (time.perf_counter() - began)), float(1000 * core / read)


def rates(files: Run, shards: Run, rounds: int) -> dict[str, float]:
    """The medians of the loaders' rates over an epoch."""
    config, stage = files.config, files.stages[0]
    plans = stage.plans[: len(stage.plans) // config.stage2.epochs]
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        packed = _nothing_kept(shards.stages[0].loader)
        loader = _nothing_kept(stage.loader)
        # The last one finds in memory what the one before it has read.
        turns = {"input_packed": packed, "input": loader, "input_kept": loader}
        for name, turn in turns.items():
            value = rate(turn, plans, config.data.threads)
            if number:  # the first one warms up
                found.setdefault(name, []).append(value)
    figures = {}
    for name, values in found.items():
        speeds, cores = zip(*values, strict=True)
        figures[f"{name}_examples_per_second"] = statistics.median(speeds)
        figures[f"{name}_core_ms"] = statistics.median(cores)
    return figures


def _nothing_kept(loader: pipeline.BatchLoader) -> pipeline.BatchLoader:
    return dataclasses.replace(loader, split=dataclasses.replace(loader.split))


def train(run: Run, steps: int) -> dict[str, float]:
    """The figures of `steps` training steps, after two that are not counted."""
    stage, config = run.stages[0], run.config
    bucket, _ = Counter(plan.bucket for plan in stage.plans).most_common(1)[0]
    plans = [plan for plan in stage.plans if plan.bucket == bucket][: steps + 2]
    state = begin_stage(run, stage, initial_weights.fresh_params(run), step=0)
    train_step = stage_step(run, stage)
    batches = iter(pipeline.load_ahead(stage.loader, plans, config.data.threads))
    waited, taken, pending = [], [], None
    for step in range(len(plans)):
        began = time.perf_counter()
        settings = stages.step_settings(stage.config, config.training, step, 0, len(plans))
        batch = next(batches)
        waited.append(time.perf_counter() - began)
        on_devices = sharding.put_batch(batch, run.network.mesh)
        state, metrics = train_step(state, on_devices, settings)
        if pending is not None:
            jax.device_get(pending)
        pending = metrics
        taken.append(time.perf_counter() - began)
    # The first step compiles; the second one waits for it.
    waited, taken = waited[2:], taken[2:]
    return {
        "input_wait_share": sum(waited) / sum(taken),
        "input_training_examples_per_second": config.stage2.batch_size / statistics.median(taken),
        "input_training_frames": float(bucket),
    }


def measure(
    sentences: int = 320, rounds: int = 5, steps: int = 8, size: str = "base"
) -> dict[str, float]:
    """Measures all figures, by name.

    Args:
        sentences: of the data set that is made.
        rounds: of the loader.
        steps: of training.
        size: of the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        phoenix.write_dataset(root / "files", sentences)
        pack.pack_dataset(root / "files", root / "shards", _SHARD)
        # Every epoch has at least one full batch of the length that most batches have.
        files, shards = (
            prepare_run(training_config(root / name, steps + 2, size), root / "run")
            for name in ("files", "shards")
        )
        found = padding() | rates(files, shards, rounds) | train(files, steps)
    ratio = found["input_kept_examples_per_second"] / found["input_training_examples_per_second"]
    return found | {"input_rate_ratio": ratio}


def main() -> None:
    """Prints the figures."""
    parser = figures.parser(__doc__)
    figures.add_counts(
        parser,
        sentences=(320, "of the data set that is read"),
        rounds=(5, "turns whose median counts"),
        steps=(8, "of training"),
    )
    process.keep_freed_memory()  # as training does
    figures.run(parser, measure)


if __name__ == "__main__":
    main()

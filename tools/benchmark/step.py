"""python -m tools.benchmark.step [--batch=8 --steps=6 --buckets=8] [--json=FILE]

Measures a training step (stage 2) at tiny and base size for every bucket of PHOENIX-2014's lengths, in
the manner of the training loop, as medians:

    wait        for the batch, which the loader reads ahead
    dispatch    until the call of the step returns
    device      from there until the step's loss and the state after it are known
    GFLOP       of the step's matrix products
    product     GFLOP a second of one matrix product of XLA's (2048 x 2048 x 2048), measured after each
                step, so that other load on the machine affects both
    share       the step's speed as a share of that of the product

On Linux it also measures the memory of base-size steps of 16 x 720 frames, without and with
rematerialization, each in a process of its own and once they are compiled. On a CPU some passes of XLA
undo rematerialization; they are turned off, here for both.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax

from configs import base
from tools.benchmark import figures, phoenix
from tools.benchmark.ours import product_speed
from tools.benchmark.training import Training, operations, signing_batch
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data import pipeline
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.model import whisper_sign
from wsign_jax.runtime import process
from wsign_jax.train import initial_weights, sharding, stages
from wsign_jax.train.run import Run, begin_stage, make_network, prepare_run, stage_step
from wsign_jax.train.state import TrainState

_SIDE = 2048  # of the matrix product
_MEMORY_SHAPE = (16, 720)
_KEEP_REMAT = "--xla_disable_hlo_passes=cse,optimization-barrier-expander,cse_barrier_expander"


def time_bucket(
    run: Run,
    step: jax.stages.Wrapped,
    state: TrainState,
    plan: BatchPlan,
    steps: int,
) -> tuple[dict[str, float], TrainState]:
    """Times the steps of one bucket.

    Args:
        run: of one stage.
        step: the stage's.
        state: to begin with; it is used up.
        plan: of the batch that all steps take.
        steps: how many are counted.

    Returns:
        The medians of the steps' parts and of the matrix product's speed, and the FLOP of a step; and
        the state after them.
    """
    stage, config = run.stages[0], run.config
    settings = stages.step_settings(stage.config, config.training, 0, 0, 1)
    batches = iter(pipeline.load_ahead(stage.loader, [plan] * (steps + 1), config.data.threads))
    batch = sharding.put_batch(next(batches), run.network.mesh)
    traced = step.trace(state, batch, settings)
    program = traced.lower().compile()
    state, metrics = program(state, batch, settings)  # the first one is slower
    jax.block_until_ready((state, metrics))
    taken, speeds = [], []
    for _ in range(steps):
        times = [time.perf_counter()]
        batch = sharding.put_batch(next(batches), run.network.mesh)
        times.append(time.perf_counter())
        state, metrics = program(state, batch, settings)
        times.append(time.perf_counter())
        jax.block_until_ready((state, metrics))
        times.append(time.perf_counter())
        taken.append([after - before for before, after in itertools.pairwise(times)])
        speeds.append(product_speed(_SIDE))
    wait, dispatch, device = (statistics.median(part) for part in zip(*taken, strict=True))
    row = {"wait": wait, "dispatch": dispatch, "device": device}
    return row | {"flops": operations(traced.jaxpr), "product": statistics.median(speeds)}, state


def time_buckets(
    size: str, data: pathlib.Path, batch: int, steps: int, buckets: int
) -> figures.Figures:
    """Prints a row for every bucket.

    Args:
        size: of the model.
        data: a data set.
        batch: rows.
        steps: of each bucket.
        buckets: how many of the run's longest ones.
    """
    config = base.get_config()
    config.data.dir, config.model.size, config.stages = str(data), size, ("stage2",)
    config.stage2.batch_size = batch
    with tempfile.TemporaryDirectory() as workdir:
        run = prepare_run(config, pathlib.Path(workdir))
    stage = run.stages[0]
    state = begin_stage(run, stage, initial_weights.fresh_params(run), step=0)
    step = stage_step(run, stage)
    plans = {plan.bucket: plan for plan in stage.plans}
    rows = {}
    for frames in sorted(plans)[-buckets:]:
        rows[frames], state = time_bucket(run, step, state, plans[frames], steps)
    print(f"{size}, batch {batch}")
    print(
        f"{'frames':>8}{'wait':>9}{'dispatch':>10}{'device':>9} ms{'GFLOP':>8}{'product':>9}{'share':>7}"
    )
    found, shares = {}, []
    for frames, row in rows.items():
        seconds = row["wait"] + row["dispatch"] + row["device"]
        shares.append(row["flops"] / seconds / row["product"])
        parts = [1000 * row[part] for part in ("wait", "dispatch", "device")]
        print(
            f"{frames:>8}{parts[0]:>9.2f}{parts[1]:>10.2f}{parts[2]:>9.1f}   "
            f"{row['flops'] / 1e9:>8.1f}{row['product'] / 1e9:>9.0f}{shares[-1]:>7.2f}",
            flush=True,
        )
        found[f"step_{size}_{batch}x{frames}_ms"] = 1000 * seconds
    found[f"step_{size}_dispatch_ms"] = 1000 * statistics.median(
        r["dispatch"] for r in rows.values()
    )
    key = "step_matmul_share" if size == "base" else f"step_{size}_matmul_share"
    return found | {key: statistics.median(shares)}


def measure_memory(remat: bool) -> None:
    """Prints as JSON what a step of `_MEMORY_SHAPE` needs; to be called in a fresh process."""
    config = base.get_config()
    config.model.positions, config.training.remat = "rotary", remat
    training = Training(config, make_network(config, phoenix.GLOSSES + 1))
    state = training.state(whisper_sign.init_params(config.model, training.network.shapes, 0))
    batch = sharding.put_batch(signing_batch(*_MEMORY_SHAPE), training.network.mesh)
    program = training.step().lower(state, batch, training.settings).compile()
    seconds = []
    figures.forget_peak_memory()
    for _ in range(3):
        began = time.perf_counter()
        state, metrics = program(state, batch, training.settings)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    planned = program.memory_analysis().temp_size_in_bytes  # with the gradients
    found = {"seconds": min(seconds), "peak": figures.peak_memory(), "planned": planned}
    print(json.dumps(found))


def memory() -> figures.Figures:
    """Measures a base-size step's peak memory with and without rematerialization, and its cost."""
    flags = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), _KEEP_REMAT]))
    found = []
    for remat in (False, True):
        command = [
            sys.executable,
            "-m",
            "tools.benchmark.step",
            f"--memory={'remat' if remat else 'plain'}",
        ]
        environment = {**os.environ, "XLA_FLAGS": flags}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    plain, again = found
    rows, frames = _MEMORY_SHAPE
    print(
        f"base, {rows} x {frames} frames: {plain['peak'] / 1e9:.2f} GB at the peak of the process, of "
        f"which XLA plans {plain['planned'] / 1e9:.2f} for a step; with rematerialization "
        f"{again['peak'] / 1e9:.2f} and {again['planned'] / 1e9:.2f}, a step takes "
        f"{again['seconds'] / plain['seconds']:.2f} times as long"
    )
    return {
        "step_peak_gb": plain["peak"] / 1e9,
        "step_planned_gb": plain["planned"] / 1e9,
        "step_remat_peak_gb": again["peak"] / 1e9,
        "step_remat_planned_gb": again["planned"] / 1e9,
        "step_remat_time_ratio": again["seconds"] / plain["seconds"],
    }


def main() -> None:
    """The command."""
    parser = figures.parser(__doc__)
    figures.add_counts(
        parser,
        batch=(8, "rows of a batch"),
        steps=(6, "of each bucket"),
        buckets=(8, "the longest of the data set's"),
        sentences=(320, "of the data set"),
    )
    parser.add_argument(
        "--sizes", type=figures.sizes, default="tiny,base", help="of the model (tiny,base)"
    )
    parser.add_argument("--memory", choices=("plain", "remat"), help="only this, as JSON")
    flags = figures.parse(parser)
    process.keep_freed_memory()  # as training does
    if flags.memory:
        measure_memory(flags.memory == "remat")
        return
    found: figures.Figures = {}
    with exit_on_user_error(), tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        phoenix.write_dataset(data, flags.sentences)
        for size in flags.sizes:
            found |= time_buckets(size, data, flags.batch, flags.steps, flags.buckets)
        if "base" in flags.sizes and figures.knows_memory():
            found |= memory()
        figures.write(flags.json, found)


if __name__ == "__main__":
    main()

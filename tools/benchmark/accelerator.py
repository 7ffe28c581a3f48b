"""python -m tools.benchmark.accelerator [--size=base] [--only=ITEM,ITEM] [--out=FILE] [--quick]

Measures on an accelerator what cannot be known without one, in about ten minutes. Prints a JSON line
after each measurement, and appends it to --out, so that an early end loses nothing; one that fails is a
line with its error. Steps are of stage 2 with the augmentation of configs/phoenix2014.py. In this order:

    compile     seconds to compile two lengths, cold and from JAX's cache
    step        milliseconds until a step's call returns and until it is done, in each precision that the
                device does not emulate: each number of rows, and each length with the fewest rows
    ctc         milliseconds of CTC and its gradient, by optax and by ours
    profile     kernels a step, and the share of ten steps in which none runs
    main        two epochs on built-in signing, by when lines come to metrics.jsonl: steps, the longest
                waits between two, validations, and stalls of saves
    loader      loader.py: sentences a second alone, and the share of training that waits for a batch
    commands    a step and its memory, planned and at the peak, in a fresh process with a GPU's command
                buffers, and in one without
    dropout     a step with dropout and without
    losses      twenty losses on one batch in each precision
    recognize   whether a stream's glosses are those of the whole, and how far an exported file's logits
                are from the run's

Attention is XLA's: the model has no other. --quick takes a tiny model and small shapes, for a CPU.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import wsign_jax
from configs import phoenix2014
from tools.benchmark import figures, loader, phoenix, recognize
from tools.benchmark.training import MAX_GLOSSES, STAGE, VOCAB_SIZE, Training, signing_batch
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error, one_line
from wsign_jax.evaluate import trained_run
from wsign_jax.model import whisper_sign
from wsign_jax.recognize import export
from wsign_jax.recognize.recognizer import Recognizer
from wsign_jax.train import ctc, losses, sharding
from wsign_jax.train.precision import fast_precisions
from wsign_jax.train.run import make_network

_ROOT = pathlib.Path(wsign_jax.__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of what is measured; by default the full ones."""

    model: str
    rows: tuple[int, ...] = (16, 32, 64)
    frames: tuple[int, ...] = (320, 480, 720)
    patches: tuple[int, ...] = (80, 120, 180, 250, 376)
    steps: int = 10
    sentences: int = 800


QUICK = Sizes("tiny", (2, 4), (64, 96), (20,), steps=2, sentences=16)
Found = Iterator[dict[str, Any]]


class Steps:
    """A compiled training step with its state and a batch on the device; a call runs it."""

    def __init__(
        self, sizes: Sizes, rows: int, frames: int, precision: str = "auto", dropout: bool = True
    ):
        config = phoenix2014.get_config()
        config.model.size, config.training.precision = sizes.model, precision
        config.model.positions = "rotary"
        if not dropout:
            for part in (config.model.frontend, config.model.encoder, config.model.decoder):
                part.dropout = 0.0
            config.model.frontend.spatial_dropout = 0.0
        training = Training(config, make_network(config, VOCAB_SIZE))
        batch = signing_batch(rows, frames, config.data.augment.speed)
        batch = sharding.put_batch(batch, training.network.mesh)
        self._inputs = batch, training.settings
        self.state = training.state(
            whisper_sign.init_params(config.model, training.network.shapes, 0)
        )
        began = time.perf_counter()
        lowered = training.step().lower(self.state, *self._inputs)
        self.lowered = time.perf_counter() - began
        self.program = lowered.compile()
        self.compiled = time.perf_counter() - began - self.lowered

    def __call__(self) -> losses.Metrics:
        """Returns while the step may still be running."""
        self.state, metrics = self.program(self.state, *self._inputs)
        return metrics


def clocked(function: Callable[[], Any], count: int) -> dict[str, float]:
    """Median milliseconds until a call returns and until its results are there, without the first."""
    taken = []
    for _ in range(count + 1):
        began = time.perf_counter()
        result = function()
        returned = time.perf_counter()
        jax.block_until_ready(result)
        taken.append((returned - began, time.perf_counter() - began))
    call, done = (1000 * statistics.median(side) for side in zip(*taken[1:], strict=True))
    return {"call_ms": call, "done_ms": done}


def compilation(sizes: Sizes) -> Found:
    """Yields the seconds of two lengths, cold and cached."""
    for frames in sizes.frames[:2]:
        cold, cached = (Steps(sizes, sizes.rows[0], frames) for _ in range(2))
        seconds = {"cold_seconds": cold.compiled, "cached_seconds": cached.compiled}
        yield {"frames": frames, "lower_seconds": cold.lowered} | seconds


def step(sizes: Sizes) -> Found:
    """Yields the times of a step in each precision, number of rows and length."""
    shapes = [(rows, sizes.frames[1]) for rows in sizes.rows]
    shapes += [(sizes.rows[0], frames) for frames in sizes.frames]
    for precision in fast_precisions(jax.devices()[0]):
        for rows, frames in dict.fromkeys(shapes):
            about = {"precision": precision, "rows": rows, "frames": frames}
            try:
                yield about | clocked(Steps(sizes, rows, frames, precision), sizes.steps)
            except Exception as error:  # too large for the device, say: the others may fit
                yield about | {"error": one_line(error)}


def ctc_alone(sizes: Sizes) -> Found:
    """Yields the times of CTC with its gradient."""

    def by_optax(logits: jax.Array, *of_rows: jax.Array) -> jax.Array:
        patches, labels, lengths = of_rows
        beyond = (
            losses.mask_beyond(patches, logits.shape[1]),
            losses.mask_beyond(lengths, labels.shape[1]),
        )
        return optax.ctc_loss(logits, beyond[0], labels, beyond[1])

    rows = sizes.rows[0]
    labels = np.random.default_rng(0).integers(1, VOCAB_SIZE, (rows, MAX_GLOSSES), np.int32)
    for patches in sizes.patches:
        logits = jax.random.normal(jax.random.key(0), (rows, patches, VOCAB_SIZE))
        inputs = np.full(rows, patches, np.int32), labels, np.full(rows, patches // 5, np.int32)
        found: dict[str, Any] = {"rows": rows, "patches": patches}
        for name, loss in (("optax", by_optax), ("ours", ctc.negative_log_likelihood)):
            gradient = jax.jit(jax.grad(lambda *args, loss=loss: jnp.sum(loss(*args))))
            run = functools.partial(gradient, logits, *inputs)
            found[f"{name}_ms"] = clocked(run, sizes.steps)["done_ms"]
        yield found


def profile(sizes: Sizes) -> Found:
    """Yields how many kernels run a step, and how idle the device is in between."""
    run = Steps(sizes, sizes.rows[0], sizes.frames[-1])
    jax.block_until_ready(run())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready([run() for _ in range(sizes.steps)])
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
    spans = sorted(
        (event.start_ns, event.start_ns + event.duration_ns)
        for plane in data.planes
        if plane.name.startswith("/device:")
        for line in plane.lines
        if line.name.startswith(("Stream", "XLA Ops"))
        for event in line.events
    )
    if not spans:
        raise RuntimeError("the profile has no device's kernels, as on a CPU")
    busy, until = 0.0, spans[0][0]
    for begin, end in spans:
        busy, until = busy + max(0.0, end - max(begin, until)), max(until, end)
    idle = 1 - busy / (until - spans[0][0])
    yield {"kernels_a_step": len(spans) / sizes.steps, "idle_share": idle}


def main_program(sizes: Sizes) -> Found:
    """Yields what two epochs of training did, by when lines came to metrics.jsonl."""
    came: list[tuple[float, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        own = (f"{STAGE}.epochs=2", f"{STAGE}.batch_size={sizes.rows[0]}", f"stages=('{STAGE}',)")
        own += (f"model.size={sizes.model}", f"data.synthetic.train={sizes.sentences}")
        flags = [
            f"--config.{flag}" for flag in (*own, "eval.every_epochs=1", "eval.pictures=False")
        ]
        command = [sys.executable, "-m", "wsign_jax.main", "--config=configs/demo.py", *flags]
        began, path = time.perf_counter(), pathlib.Path(folder) / "metrics.jsonl"
        command.append(f"--workdir={folder}")
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(0.005)
                text = path.read_text() if path.exists() else ""
                whole = text[: text.rfind("\n") + 1].splitlines()
                now = time.perf_counter() - began
                came += [(now, json.loads(line)) for line in whole[len(came) :]]
    if process.returncode:
        raise RuntimeError(f"wsign_jax.main ended with exit status {process.returncode}")
    # A line's gap is the time since the line before.
    gaps = [(now - before, line) for (before, _), (now, line) in itertools.pairwise(came)]
    steps = [gap for gap, line in gaps if "train/loss" in line]
    stall = "checkpoint/stall_seconds"
    yield {
        "seconds": time.perf_counter() - began,
        "first_step_seconds": came[0][0],
        "step_ms": 1000 * statistics.median(steps),
        "longest_waits_seconds": sorted(steps)[-5:],
        "validation_seconds": [gap for gap, line in gaps if "val/wer" in line],
        "stall_seconds": [line[stall] for _, line in came if stall in line],
    }


def loading(sizes: Sizes) -> Found:
    """Yields loader.py's figures."""
    yield loader.measure(min(sizes.sentences, 320), sizes.steps // 4 + 1, sizes.steps, sizes.model)


def commands(sizes: Sizes) -> Found:
    """Yields a step's times and memory in fresh processes, with command buffers and without."""
    command = [sys.executable, "-m", "tools.benchmark.accelerator", "--only=alone"]
    command.append("--quick" if sizes == QUICK else f"--size={sizes.model}")
    for name, flags in (("on", ""), ("off", "--xla_gpu_enable_command_buffer=")):
        # XLA takes what begins with a space for the name of a file.
        environment = os.environ | {
            "XLA_FLAGS": f"{flags} {os.environ.get('XLA_FLAGS', '')}".strip()
        }
        line = subprocess.check_output(command, cwd=_ROOT, env=environment, text=True)
        yield {"command_buffers": name} | json.loads(line) | {"item": "commands"}


def alone(sizes: Sizes) -> Found:
    """Yields a step's times, and its memory as planned and at the peak; for `commands`."""
    run = Steps(sizes, sizes.rows[0], sizes.frames[-1])
    planned = run.program.memory_analysis()
    yield clocked(run, sizes.steps) | {
        "arguments_mb": planned.argument_size_in_bytes / 1e6,
        "temporary_mb": planned.temp_size_in_bytes / 1e6,
        "peak_mb": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 1e6,
    }


def dropout(sizes: Sizes) -> Found:
    """Yields a step's times with dropout and without."""
    for on in (True, False):
        run = Steps(sizes, sizes.rows[0], sizes.frames[-1], dropout=on)
        yield {"dropout": on} | clocked(run, sizes.steps)


def twenty_losses(sizes: Sizes) -> Found:
    """Yields the losses of twenty steps in each precision."""
    for precision in fast_precisions(jax.devices()[0]):
        run = Steps(sizes, sizes.rows[0], sizes.frames[0], precision)
        yield {"precision": precision, "losses": [float(run()["loss"]) for _ in range(20)]}


def recognition(sizes: Sizes) -> Found:
    """Yields whether a stream is the whole, and how far an exported file is from its run."""
    recording = phoenix.signing(sizes.frames[-1])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        recognize.make_run(folder / "run", sizes.model)
        run = Recognizer.load(folder / "run")
        stream = run.stream(chunk=8, left_context=32)
        streamed = stream.push(recording).stable + stream.finish().stable
        (whole,) = run.transcribe([recording], chunk=8, left_context=32)
        export.export_run(trained_run.open_run(folder / "run"), folder / "model.wsign")
        exported = Recognizer.load(folder / "model.wsign")
        inputs = recording[None], np.array([len(recording)])
        logits, others = (np.asarray(each.logits(*inputs)[0]) for each in (run, exported))
    yield {
        "glosses": len(whole.glosses),
        "stream_is_whole": [gloss.label for gloss in streamed] == whole.text.split(),
        "export_largest_difference": float(np.abs(logits - others).max()),
    }


ITEMS: dict[str, Callable[[Sizes], Found]] = {
    "compile": compilation,
    "step": step,
    "ctc": ctc_alone,
    "profile": profile,
    "main": main_program,
    "loader": loading,
    "commands": commands,
    "dropout": dropout,
    "losses": twenty_losses,
    "recognize": recognition,
    "alone": alone,  # for `commands`
}
LISTED = tuple(ITEMS)[:-1]


def _lines(item: str, sizes: Sizes) -> Found:
    """Yields an item's lines, and its error as the last of them."""
    try:
        yield from ITEMS[item](sizes)
    except Exception as error:
        yield {"error": one_line(error)}


def measure(sizes: Sizes, items: Sequence[str], out: pathlib.Path | None = None) -> None:
    """Prints the items' lines as they come, and appends them to a file."""
    lines_to = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # for what else an item prints
        for item in items:
            began = time.perf_counter()
            for line in _lines(item, sizes):
                took = {"took_seconds": time.perf_counter() - began}
                text = json.dumps({"item": item} | line | took)
                print(text, file=lines_to, flush=True)
                if out is not None:
                    with out.open("a", encoding="utf-8") as file:
                        file.write(text + "\n")


def main() -> None:
    """The command."""
    parser = Parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    parser.add_argument("--only", default=",".join(LISTED), help="some items, with commas (all)")
    parser.add_argument("--out", type=figures.new_file, help="a new file, for the lines")
    parser.add_argument("--quick", action="store_true", help="small, to try it on a CPU")
    with exit_on_user_error():
        flags = parser.parse_args()
        items = flags.only.split(",")
        if unknown := set(items) - set(ITEMS):
            raise WSignError(f"--only: {unknown.pop()!r} is not one of {', '.join(LISTED)}")
    os.environ.setdefault(
        "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
    )  # other processes need memory too
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        measure(QUICK if flags.quick else Sizes(flags.size), items, flags.out)


if __name__ == "__main__":
    main()

"""python -m tools.benchmark.peer [--size=base --batch=8 --frames=600] [--torch_python=PATH]

Compares training with the same network in PyTorch (torch_peer.py), which is installed by

    pip install torch --index-url https://download.pytorch.org/whl/cpu

either here, or with `ml-collections` in another environment, whose interpreter --torch_python names.
The two run in processes of their own with the same weights, threads and batches. First both print the
loss of a batch without dropout, which must be the same. Then they take turns, so that other load on the
machine affects both. Ratios are of medians, ours over theirs:

    peer_step_ratio   a step on one batch of made-up sentences. Ours augments and normalizes them first;
                      theirs gets them normalized
    peer_epoch_ratio  an epoch of sentences as long as PHOENIX-2014's, end to end: read, augmented,
                      normalized, padded and trained on. Ours has eight buckets; theirs is a DataLoader
                      that augments and normalizes, over random batches, each padded to its longest.
                      Each has two workers that read ahead.

A sample of each side's batches stands for its epoch, evenly spaced in the order of their padded lengths.
Compiling (by jax, once per shape) is not counted. Each side's speed in a step is also printed as a share
of what it reaches in a product of two matrices, measured after each of its steps. The operations of a
step are those of our matrix products.

With --compile the peer's steps, not its epoch, run under `torch.compile`. On two cores it took minutes
to compile and was not faster.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import wsign_jax
from tools.benchmark import batches, figures, peer_keypoints, phoenix, training
from tools.benchmark.ours import Ours, product_speed
from wsign_jax.common.errors import WSignError
from wsign_jax.data import pipeline
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.runtime import process

_ROOT = pathlib.Path(wsign_jax.__file__).parents[1]
_INSTALL = {
    "torch": "torch --index-url https://download.pytorch.org/whl/cpu",
    "ml_collections": "ml-collections",
}
_MATRIX = 2048  # rows and columns of the product that shows what a machine can do
# With this, PyTorch's threads that wait for another thread soon leave the processor to it and to others.
# By default they hold it for so long that a step takes many times as long on a machine with other work,
# for example the DataLoader's own. On a machine without other work it makes no difference.
_PATIENCE = {"GOMP_SPINCOUNT": "20000"}
_TOLERANCE = 1e-4  # by which the two losses may differ, relative


def check_torch(python: str) -> None:
    """Raises a `WSignError` that says how to install what an interpreter lacks for the peer."""
    for module, package in _INSTALL.items():
        try:
            found = subprocess.run(
                [python, "-c", f"import {module}"], check=False, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise WSignError(f"--torch_python={python}: {error.strerror}") from None
        if found.returncode:
            raise WSignError(
                f"{python} cannot import {module}; install it: {python} -m pip install {package}, or "
                "name an interpreter that has it with --torch_python=PATH"
            )


class Peer:
    """PyTorch in a process of its own; see torch_worker.py for what it can do."""

    def __init__(self, python: str, spec: dict[str, Any], weights: pathlib.Path, compiled: bool):
        check_torch(python)
        command = [python, "-m", "tools.benchmark.torch_worker", f"--spec={json.dumps(spec)}"]
        command += [f"--weights={weights}", f"--threads={threads()}"]
        self._process = subprocess.Popen(
            [*command, "--compile"] if compiled else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=os.environ | {"PYTHONPATH": str(_ROOT)} | _PATIENCE,
        )

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # which ends its input

    def ask(self, do: str, **arguments: Any) -> Any:
        """Calls one of the worker's methods and returns its result."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of the peer ended while asked to do {do!r}")
        return json.loads(answer)


def threads() -> int:
    """The number of processors that this process may use, which is jax's number of threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peer_spec(config: ConfigDict, vocab_size: int) -> dict[str, Any]:
    """The fields of `torch_peer.Spec` for what stage 2 of a config trains."""
    size = whisper_sign.SIZES[config.model.size]
    model, stage, training = config.model, config.stage2, config.training
    return {
        "width": size.width,
        "heads": size.heads,
        "hidden": size.hidden,
        "encoder_layers": model.encoder.num_layers or size.encoder_layers,
        "decoder_layers": model.decoder.num_layers or size.decoder_layers,
        "vocab_size": vocab_size,
        "patch_size": model.frontend.patch_size,
        "conv_kernel": model.frontend.conv_kernel,
        "look_ahead": model.frontend.look_ahead,
        "spatial_dropout": model.frontend.spatial_dropout,
        "frontend_dropout": model.frontend.dropout,
        "encoder_dropout": model.encoder.dropout,
        "decoder_dropout": model.decoder.dropout,
        "ctc_dropout": model.ctc_dropout,
        "alpha": stage.alpha,
        "label_smoothing": training.label_smoothing,
        "learning_rate": stage.lr,
        "weight_decay": stage.weight_decay,
        "grad_clip": training.grad_clip,
        "max_frames": config.data.max_seq_length,
    }


def peer_batch(batch: pipeline.Batch[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the fields of a `torch_peer.Batch`, normalized, if none is faster or slower."""
    features = np.zeros((*batch.positions.shape[:3], joints.NUM_FEATURES), np.float32)
    for row, frames in enumerate(batch.frames.tolist()):
        raw = batch.positions[row, :frames], batch.confidence[row, :frames]
        features[row, :frames] = peer_keypoints.normalize(joints.features_from_positions(*raw))
    return {
        "features": features,
        "frames": batch.frames,
        "labels": batch.labels,
        "label_lengths": batch.label_lengths,
    }


def compare_losses(ours: Ours, peer: Peer, batch: pipeline.Batch, path: pathlib.Path) -> None:
    """Prints both sides' losses of a batch, which the peer reads from a file.

    Raises:
        RuntimeError: they differ, so that times would not compare.
    """
    mine, theirs = ours.losses(batch), peer.ask("losses", batch=str(path))
    for name, a, b in zip(("loss", "ctc", "attention"), mine, theirs, strict=True):
        print(f"{name} without dropout: ours {a:.5f}, theirs {b:.5f}", flush=True)
        if abs(a - b) > _TOLERANCE * abs(a):
            raise RuntimeError(f"the two networks differ: {name} is {a} and {b}")


def measure_steps(
    ours: Ours, peer: Peer, folder: pathlib.Path, rows: int, frames: int, rounds: int
) -> dict[str, float]:
    """Measures step times on one batch, and each side's share of its own peak."""
    made, path = training.signing_batch(rows, frames), folder / "batch.npz"
    np.savez(path, **peer_batch(made))
    batch = ours.put(made)
    compare_losses(ours, peer, batch, path)
    flops = ours.flops(batch)
    sides = {
        "ours": (lambda: ours.steps(batch, 1), lambda: product_speed(_MATRIX)),
        "theirs": (
            lambda: peer.ask("steps", batch=str(path), count=1),
            lambda: peer.ask("product_speed", size=_MATRIX),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 2):  # the first two of each warm caches up
        for name, (step, speed) in sides.items():
            taken, reached = step(), speed()
            if turn >= 2:
                seconds[name].append(taken)
                speeds[name].append(reached)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    peaks = {name: statistics.median(values) for name, values in speeds.items()}
    shares = {name: flops / medians[name] / peaks[name] for name in sides}
    for name in sides:
        print(
            f"{name:6} {1000 * medians[name]:8.1f} ms a step, {shares[name]:.0%} of a matrix product's "
            f"{peaks[name] / 1e9:.1f} Gflop/s"
        )
    return {
        "peer_step_ratio": medians["ours"] / medians["theirs"],
        "peer_our_step_ms": 1000 * medians["ours"],
        "peer_their_step_ms": 1000 * medians["theirs"],
        "peer_our_peak_share": shares["ours"],
        "peer_their_peak_share": shares["theirs"],
    }


def measure_epochs(
    ours: Ours, peer: Peer, root: pathlib.Path, samples: dict[str, batches.Sample], rounds: int
) -> dict[str, float]:
    """Measures an epoch end to end, from a sample of each side's batches.

    Args:
        ours: on the data set.
        peer: the other side.
        root: of the data set.
        samples: of 'ours' and 'theirs'.
        rounds: of turns.
    """
    theirs = samples["theirs"]
    asked = {
        "root": str(root),
        "rows": [plan.rows.tolist() for plan in batches.going_on(theirs.plans)],
        "augmentation": ours.run.config.data.augment.to_dict(),
        "workers": ours.run.config.data.threads,
    }
    ours.compile(samples["ours"])
    seconds = [
        (ours.end_to_end(samples["ours"]), theirs.scale * peer.ask("end_to_end", **asked))
        for _ in range(rounds)
    ]
    frames = phoenix.lengths().mean() * len(theirs.plans[0].rows)
    speeds = [frames / statistics.median(side) for side in zip(*seconds, strict=True)]
    print(f"end to end: ours {speeds[0]:,.0f}, theirs {speeds[1]:,.0f} real frames a second")
    return {
        "peer_epoch_ratio": speeds[1] / speeds[0],
        "peer_our_frames_per_second": speeds[0],
        "peer_their_frames_per_second": speeds[1],
    }


def measure(
    torch_python: str,
    size: str = "base",
    batch: int = 8,
    frames: int = 600,
    rounds: int = 10,
    epoch_batch: int = 16,
    sample: int = 6,
    epoch_rounds: int = 3,
    compiled: bool = False,
) -> dict[str, float]:
    """Measures and prints the figures; returns them by name.

    Args:
        torch_python: the interpreter that has PyTorch.
        size: of the model.
        batch: rows of the batch whose step is timed.
        frames: to which it is padded.
        rounds: of turns in which steps are timed.
        epoch_batch: rows of a batch of the epoch.
        sample: batches of each side that stand for its epoch.
        epoch_rounds: of turns in which they are timed.
        compiled: whether the peer's steps run under `torch.compile`.
    """
    check_torch(torch_python)
    lengths = phoenix.lengths()
    samples = {
        "ours": batches.sampled(batches.bucketed_plans(lengths, epoch_batch, 8), sample),
        "theirs": batches.sampled(batches.random_plans(lengths, epoch_batch), sample),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        root = folder / "data"
        samples = batches.write(root, samples)
        ours = Ours(root, size, epoch_batch)
        weights = folder / "weights.npz"
        np.savez(weights, **whisper_sign.unstack_params(ours.state.params))
        spec = peer_spec(ours.run.config, len(ours.run.vocabulary))
        with Peer(torch_python, spec, weights, compiled) as peer:
            print(
                f"{size}, {batch} x {frames} frames; jax {jax.__version__}, {peer.ask('about')}; "
                f"load {os.getloadavg()[0]:.1f} before"
            )
            found = measure_steps(ours, peer, folder, batch, frames, rounds)
            return found | measure_epochs(ours, peer, root, samples, epoch_rounds)


def main() -> None:
    """Prints the figures."""
    parser = figures.parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(
        parser,
        batch=(8, "rows of the batch whose step is timed"),
        frames=(600, "of each of them"),
        rounds=(10, "turns in which steps are timed"),
        epoch_batch=(16, "rows of a batch of the epoch"),
        sample=(6, "batches of each side that stand for its epoch"),
        epoch_rounds=(3, "turns in which they are timed"),
    )
    flag = parser.add_argument
    flag(
        "--torch_python",
        metavar="PYTHON",
        type=figures.program,
        default=sys.executable,
        help="with PyTorch (this one)",
    )
    flag("--compile", action="store_true", dest="compiled", help="the peer's steps")
    process.keep_freed_memory()  # as training does
    figures.run(parser, measure)


if __name__ == "__main__":
    main()

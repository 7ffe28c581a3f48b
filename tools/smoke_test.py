"""python tools/smoke_test.py [--precision=auto]

Tries every part of the project on this machine: data, model, a step of each stage, saving, restoring,
decoding, evaluation. Takes less than a minute on two CPU cores. Prints a line for each part, then
versions and devices. Its files are in a temporary folder, which is removed afterwards.

The exit status is 1 if a part fails; the last line says which.
"""

import contextlib
import importlib.metadata
import io
import pathlib
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.evaluate import decoder_settings, evaluate, trained_run
from wsign_jax.main import parse
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import initial_weights, sharding, stages
from wsign_jax.train.checkpoint import store
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.precision import PRECISIONS
from wsign_jax.train.run import Run, begin_stage, prepare_run, stage_step
from wsign_jax.train.state import TrainState

CONFIG = pathlib.Path(__file__).absolute().parents[1] / "configs" / "demo.py"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
DECODER = "joint"  # uses the CTC head and the attention decoder; the evaluation after it is greedy


@contextlib.contextmanager
def part(name: str) -> Iterator[list[str]]:
    """Runs a part of the test as the body of `with`; the body adds its findings to the yielded list.

    Raises:
        SystemExit: with status 1, if the body raises.
    """
    found: list[str] = []
    began = time.monotonic()
    narrated = io.StringIO()
    try:
        with contextlib.redirect_stdout(narrated):
            yield found
    except Exception as error:
        print(narrated.getvalue(), end="", file=sys.stderr)
        traceback.print_exc()
        sys.stderr.flush()
        reason = str(error).split("\n")[0]
        print(f"FAILED   {name}: {type(error).__name__}: {reason}", flush=True)
        sys.exit(1)
    print(f"{time.monotonic() - began:4.1f} s   {name:<9} {', '.join(found)}", flush=True)


def smoke_config(precision: str) -> ConfigDict:
    """Makes a config so small that all parts take seconds, with batches that all devices share."""
    config, _ = parse(["smoke_test", f"--config={CONFIG}"])
    rows = -(-8 // jax.device_count()) * jax.device_count()
    config.data.synthetic.update({"glosses": 5, "train": rows, "val": 4, "test": 4})
    config.data.max_buckets = 1
    config.model.encoder.num_layers = 1
    for stage in config.stages:
        config[stage].epochs, config[stage].batch_size = 1, rows
    config.eval.batch_size = rows
    config.training.precision = precision
    return config


def run_parts(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Runs all parts, in the order in which data flows."""
    with part("data") as found:
        run = prepare_run(config, workdir)
        found.append(f"{len(run.train)} sentences, {len(run.vocabulary) - 1} glosses")
    with part("model") as found:
        params = initial_weights.fresh_params(run)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        found.append(f"{config.model.size}, {count:,} parameters, {run.config.training.precision}")
    state = train_stages(run, params)
    with part("save") as found:
        info = RunInfo(
            stage=run.end[0],
            next_batch=run.end[1],
            data=run.fingerprint,
            config=run.config_json,
            vocabulary=run.vocabulary,
        )
        with contextlib.closing(store.Checkpoints(workdir, keep=1)) as checkpoints:
            checkpoints.save(state, info)
        size = sum(file.stat().st_size for file in checkpoints.path(int(state.step)).rglob("*"))
        found.append(f"{size / 1e6:.1f} MB")
    with part("restore") as found:
        opened = trained_run.open_run(workdir)
        jax.tree.map(np.testing.assert_array_equal, opened.params, state.params)
        found.append("the same to the last bit")
    split = trained_run.read_split(opened, workdir / "data", "val")
    with part("decode") as found:
        settings = decoder_settings.choose_settings(opened, DECODER)
        sentences, _ = evaluate.evaluate_split(opened, workdir / "data", split, settings)
        glosses = sum(len(sentence.hypothesis) for sentence in sentences)
        found.append(f"{DECODER}, {len(sentences)} sentences, {glosses} glosses")
    with part("evaluate") as found:
        evaluate.evaluate(config, workdir)
        report = files.read_json(workdir / "report_test.json")
        found.append(
            f"greedy, {report['sentences']} sentences, WER {report['wer']:.2f} after 3 steps"
        )


def train_stages(run: Run, params: Params) -> TrainState:
    """Trains one step of each stage; returns the state after the last."""
    training = run.config.training
    steps: dict[bool, jax.stages.Wrapped] = {}  # stages with the same loss share a compiled one
    for stage in run.stages:
        with part(stage.name) as found:
            hybrid = stage.config.alpha < 1
            state = begin_stage(run, stage, params, stage.number)
            if hybrid not in steps:
                steps[hybrid] = stage_step(run, stage)
            batch = sharding.put_batch(stage.loader(stage.plans[0]), run.network.mesh)
            settings = stages.step_settings(stage.config, training, stage.number, stage.number, 1)
            state, metrics = steps[hybrid](state, batch, settings)
            if not metrics["finite"]:
                raise FloatingPointError(f"the loss is {metrics['loss']}")
            params = state.params
            parts = [name for name in ("loss", "ctc", "attention") if name in metrics]
            found.extend(f"{name} {metrics[name]:.2f}" for name in parts)
    return state


def main() -> None:
    """Parses the flags and runs the parts."""
    parser = Parser(__doc__)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="(auto)")
    with exit_on_user_error():
        flags = parser.parse_args()
    with exit_on_user_error(), tempfile.TemporaryDirectory(prefix="wsign_smoke_") as folder:
        run_parts(smoke_config(flags.precision), pathlib.Path(folder))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    print(f"Python {platform.python_version()}, {', '.join(versions)}")
    print(f"devices: {', '.join(f'{device.platform} {device}' for device in jax.devices())}")


if __name__ == "__main__":
    main()

"""Runs the command as a person would, in a process of its own that a test can kill."""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

ROOT = pathlib.Path(__file__).parents[1]

# Two stages of two epochs of built-in signing: 32 steps of a model that compiles in seconds.
SMALL = (
    "--config=configs/demo.py",
    "--config.stages=('stage1','stage2')",
    "--config.stage1.epochs=2",
    "--config.stage2.epochs=2",
    "--config.stage1.batch_size=8",
    "--config.stage2.batch_size=8",
    "--config.eval.batch_size=8",
    "--config.eval.every_epochs=1",
    "--config.data.max_buckets=1",
    "--config.data.synthetic.glosses=5",
    "--config.data.synthetic.train=64",
    "--config.data.synthetic.val=8",
    "--config.data.synthetic.test=8",
    "--config.model.encoder.num_layers=1",
    "--config.checkpoint.every_steps=3",
)


def start(
    workdir: pathlib.Path,
    *flags: str,
    base: Sequence[str] = SMALL,
    devices: int = 1,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Starts a training; its output goes to `<workdir>.log`, one run after the other.

    Args:
        workdir: the run's folder.
        *flags: further flags, which override those of `base`.
        base: flags that name the config and make it small.
        devices: simulated ones.
        environment: further variables.
    """
    settings = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        # Every process but the first finds its programs compiled.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    with log(workdir).open("a") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "wsign_jax.main", *base, f"--workdir={workdir}", *flags],
            cwd=ROOT,
            env=settings | (environment or {}),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )


def log(workdir: pathlib.Path) -> pathlib.Path:
    """Where the output of a run goes."""
    return workdir.with_name(f"{workdir.name}.log")


def finish(process: subprocess.Popen[str], workdir: pathlib.Path) -> None:
    """Waits for a run that must end well."""
    code = process.wait(timeout=300)
    assert code == 0, f"exit status {code}\n{log(workdir).read_text()}"


def wait_until(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits for something that a run does; fails where the run ends before."""
    deadline = time.monotonic() + 300
    while not seen():
        assert process.poll() is None, "the run ended before"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def lines(workdir: pathlib.Path) -> list[dict[str, float | str]]:
    """The whole lines of a run's metrics.jsonl, which it may be writing."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def last_step(workdir: pathlib.Path) -> int:
    """The last step of training that is logged."""
    return max((int(line["step"]) for line in lines(workdir)), default=0)

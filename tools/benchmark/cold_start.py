"""python -m tools.benchmark.cold_start [--size=base --batch=8 --sentences=96] [--json=FILE]

Measures the seconds from the command `python -m wsign_jax.main` to the end of its first training step
(stage 2, fresh weights), and to the end of the first step of its last bucket: first with an empty
compilation cache, then with all programs in JAX's cache. Sentences are as long as PHOENIX-2014's. Also
counts the programs that training compiled itself, which are those for its buckets. Other programs take
a tenth of a second each and are not counted.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from configs import base
from tools.benchmark import figures, phoenix
from wsign_jax.common.errors import WSignError
from wsign_jax.train.run import plan_training, read_checked_split

_ROOT = pathlib.Path(__file__).parents[2]
_CONFIG = "stage2"


def run(flags: list[str], steps: int, cache: pathlib.Path) -> tuple[float, int]:
    """Trains for a number of steps in a process of its own.

    Args:
        flags: of the command.
        steps: how many, after which it is stopped.
        cache: the folder of compiled programs.

    Returns:
        Seconds from its start to the end of the last step, and how many programs were compiled ahead.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-u", "-m", "wsign_jax.main", *flags, f"--workdir={folder}/run"]
        command.append(f"--config.training.max_steps={steps}")
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        began, compiled, said = time.perf_counter(), 0, ""
        with subprocess.Popen(
            command,
            cwd=_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                compiled += line.startswith(f"compiled {_CONFIG} ")
                if line.startswith(f"{_CONFIG} {steps}/{steps} steps"):
                    seconds = time.perf_counter() - began
                    process.kill()
                    return seconds, compiled
                said = line.strip() or said
        raise WSignError(f"training ended before its step {steps}: {said}")


def steps_to_last_bucket(data: pathlib.Path, batch: int) -> tuple[int, int]:
    """Returns the step, from 1, at which the last bucket is met first, and the number of buckets."""
    config = base.get_config()
    config.data.dir, config.stages = str(data), (_CONFIG,)
    config.stage2.batch_size, config.stage2.epochs = batch, 1
    split = read_checked_split(config, data, "train")
    plans = plan_training(config, split).epoch(0, batch)
    first = {plan.bucket: step for step, plan in reversed([*enumerate(plans, 1)])}
    return max(first.values()), len(first)


def measure(size: str = "base", batch: int = 8, sentences: int = 96) -> figures.Figures:
    """Measures all figures, by name; prints each as it comes.

    Args:
        size: of the model.
        batch: rows.
        sentences: of the data set that is made.
    """
    found: figures.Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        data, caches = pathlib.Path(folder) / "data", pathlib.Path(folder) / "compiled"
        phoenix.write_dataset(data, sentences)
        flags = [f"--config=configs/{_CONFIG}.py", f"--config.data.dir={data}"]
        flags += [f"--config.{_CONFIG}.batch_size={batch}", f"--config.{_CONFIG}.epochs=1"]
        flags += [f"--config.model.size={size}", "--config.init_from="]
        last, buckets = steps_to_last_bucket(data, batch)
        print(
            f"{size}, batches of {batch}, {buckets} buckets, the last one first met in step {last}"
        )
        for kind, cache in (
            ("cold", "once"),
            ("cold_all", "all"),
            ("cached", "all"),
            ("cached_all", "all"),
        ):
            steps = last if kind.endswith("_all") else 1
            seconds, compiled = run(flags, steps, caches / cache)
            found[f"{kind}_start_seconds"] = seconds
            print(f"{kind:12}{seconds:8.1f} s to the end of step {steps}", flush=True)
            if kind == "cold_all":
                found["cold_start_programs"] = compiled
    return found


def main() -> None:
    """The command."""
    parser = figures.parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(parser, batch=(8, "sentences a batch"), sentences=(96, "of an epoch"))
    figures.run(parser, measure)


if __name__ == "__main__":
    main()

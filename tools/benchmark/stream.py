"""python -m tools.benchmark.stream [--size=base,tiny --chunk=1 --left_context=64 --minutes=10]

Measures how long a stream takes for each chunk, from frames to glosses. Weights are fresh, since the
time does not depend on them. Frames are pushed as fast as they are taken. For reliable figures no other
program may run; the load is printed.
"""

import os
import time

import jax
import numpy as np

from configs import base
from tools.benchmark import figures, phoenix
from tools.benchmark.figures import Figures
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.evaluate import trained_run
from wsign_jax.keypoints import joints
from wsign_jax.stream.run_stream import make_step, stream_run
from wsign_jax.stream.stream import Stream
from wsign_jax.train import config_schema

_QUANTILES = (0.5, 0.95, 0.99)


def resident_mb() -> float:
    """Megabytes of memory that this process holds; 0 if the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def push_all(
    stream: Stream, minute: np.ndarray, minutes: int, frames: int
) -> tuple[np.ndarray, ...]:
    """Returns milliseconds (minutes, chunks) for every chunk, and memory after every minute."""
    chunks = len(minute) // frames
    taken, memory = np.zeros((minutes, chunks)), np.zeros(minutes)
    for row in range(minutes):
        for number in range(chunks):
            begin = time.perf_counter()
            stream.push(minute[number * frames : (number + 1) * frames])
            taken[row, number] = 1000 * (time.perf_counter() - begin)
        memory[row] = resident_mb()
    return taken, memory


def measure(size: str, chunk: int, left_context: int, minutes: int, glosses: int) -> Figures:
    """Prints the table of one size; returns its figures."""
    config = base.get_config()
    config.model.size = size
    config_schema.check_config(config)
    run = trained_run.make_untrained(config, glosses + 1)
    stream = stream_run(run, chunk=chunk, left_context=left_context)
    frames = chunk * run.patch_size
    taken, memory = push_all(stream, phoenix.signing(60 * joints.FPS), minutes, frames)
    seconds = frames / joints.FPS
    print(
        f"{size}, chunks of {chunk} patches ({1000 * seconds:.0f} ms), {left_context} behind, "
        f"{glosses + 1} ids; jax {jax.__version__}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':14}{'p50':>8}{'p95':>8}{'p99':>8} ms  real-time factor  resident MB")
    rows = {"all": slice(None), "first minute": slice(0, 1), "last minute": slice(-1, None)}
    for name, part in rows.items():
        quantiles = "".join(f"{ms:8.2f}" for ms in np.quantile(taken[part], _QUANTILES))
        factor = taken[part].mean() / (1000 * seconds)
        print(f"{name:14}{quantiles}     {factor:16.3f}  {memory[part][-1]:11.0f}")
    spent, programs = stream.spent, make_step(run.network.graph)._cache_size()
    model, decoding = (
        1000 * s / spent.chunks for s in (spent.model_seconds, spent.decoding_seconds)
    )
    print(f"a chunk's mean: model {model:.2f} ms, decoding {decoding:.2f} ms; programs: {programs}")
    found = {
        f"stream_{size}_p{100 * quantile:.0f}_ms": float(np.quantile(taken, quantile))
        for quantile in _QUANTILES
    }
    return {**found, f"stream_{size}_realtime_factor": float(taken.mean() / (1000 * seconds))}


def main() -> None:
    """Parses the flags."""
    parser = figures.parser(__doc__)
    parser.add_argument(
        "--size",
        type=figures.sizes,
        default="base,tiny",
        help="of the model, one or more (base,tiny)",
    )
    figures.add_counts(
        parser,
        chunk=(1, "patches recognized at a time"),
        left_context=(64, "patches seen before"),
        minutes=(10, "of signing, a whole number"),
        glosses=(1295, "of the vocabulary"),
    )
    flags = vars(figures.parse(parser))
    json, sizes = flags.pop("json"), flags.pop("size")
    found: Figures = {}
    with exit_on_user_error():
        for size in sizes:
            found |= measure(size, **flags)
        figures.write(json, found)


if __name__ == "__main__":
    main()

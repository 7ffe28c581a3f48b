"""python tools/benchmark/stream.py [--size=base --chunk=1 --left_context=64 --minutes=10]

How long a stream takes over each chunk, from frames to glosses, with fresh weights: what it takes does
not depend on them. Frames are pushed as fast as they are taken. For figures to trust, nothing else may
run; the load is printed.
"""

import argparse
import os
import time

import jax
import numpy as np

from configs import base
from wsign_jax import trained
from wsign_jax.chunks import make_step
from wsign_jax.keypoints import joints
from wsign_jax.stream import Stream


def signing(frames: int) -> np.ndarray:
    """(T, 42, 7) features of hands that wander about."""
    rng = np.random.default_rng(0)
    shape = rng.normal(0, 0.05, size=(joints.NUM_JOINTS, 3))
    path = np.cumsum(rng.normal(0, 0.01, size=(frames, 1, 3)), axis=0)
    return joints.features_from_positions(shape + path, np.ones((frames, len(joints.HANDS))))


def resident_mb() -> float:
    """Memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def measure(
    stream: Stream, minute: np.ndarray, minutes: int, frames: int
) -> tuple[np.ndarray, ...]:
    """Milliseconds (minutes, chunks a minute) over every chunk, and memory after every minute."""
    chunks = len(minute) // frames
    taken, memory = np.zeros((minutes, chunks)), np.zeros(minutes)
    for row in range(minutes):
        for number in range(chunks):
            begin = time.perf_counter()
            stream.push(minute[number * frames : (number + 1) * frames])
            taken[row, number] = 1000 * (time.perf_counter() - begin)
        memory[row] = resident_mb()
    return taken, memory


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="base")
    options = (("chunk", 1), ("left_context", 64), ("minutes", 10), ("glosses", 1295))
    for name, value in options:
        parser.add_argument(f"--{name}", type=int, default=value)
    flags = parser.parse_args()
    config = base.get_config()
    config.model.size = flags.size
    run = trained.untrained(config, flags.glosses + 1)
    stream = Stream(run, chunk=flags.chunk, left_context=flags.left_context)
    frames = flags.chunk * run.patch_size
    taken, memory = measure(stream, signing(60 * joints.FPS), flags.minutes, frames)
    seconds = frames / joints.FPS
    print(
        f"{flags.size}, chunks of {flags.chunk} patches ({1000 * seconds:.0f} ms), "
        f"{flags.left_context} behind, {flags.glosses + 1} ids; jax {jax.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':14}{'p50':>8}{'p95':>8}{'p99':>8} ms  real-time factor  resident MB")
    rows = {"all": slice(None), "first minute": slice(0, 1), "last minute": slice(-1, None)}
    for name, part in rows.items():
        quantiles = "".join(f"{q:8.2f}" for q in np.quantile(taken[part], (0.5, 0.95, 0.99)))
        factor = taken[part].mean() / (1000 * seconds)
        print(f"{name:14}{quantiles}     {factor:16.3f}  {memory[part][-1]:11.0f}")
    spent, programs = stream.spent, make_step(run.network.graph)._cache_size()
    model, decoding = (
        1000 * s / spent.chunks for s in (spent.model_seconds, spent.decoding_seconds)
    )
    print(f"a chunk's mean: model {model:.2f} ms, decoding {decoding:.2f} ms; programs: {programs}")


if __name__ == "__main__":
    main()

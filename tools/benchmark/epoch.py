"""python -m tools.benchmark.epoch [--size=base --batch=16] [--json=FILE]

Measures training end to end on sentences as long as PHOENIX-2014's: they are read, padded,
augmented, normalized and trained on. Our eight buckets are compared to the same model and loader with

    random    random batches, each padded to its longest, rounded up to a multiple of 32 frames
    pad1500   random batches, every sentence padded to 1500 frames

The figures are our real frames per second, and the time of an epoch of the others over that of ours. A
sample of each one's batches stands for its epoch, evenly spaced in the order of their padded lengths.
Shapes are compiled before the clock starts: a run compiles each once, but random batches have dozens.
The three take turns, so that other load on the machine affects all of them.
"""

import pathlib
import statistics
import tempfile

from tools.benchmark import batches, figures, phoenix
from tools.benchmark.ours import Ours
from wsign_jax.data.buckets import MULTIPLE, BatchPlan
from wsign_jax.runtime import process


def measure(
    size: str = "base", batch: int = 16, sample: int = 6, rounds: int = 3, longest: int = 1500
) -> dict[str, float]:
    """Measures and prints the figures; returns them by name.

    Args:
        size: of the model.
        batch: rows.
        sample: batches that stand for our epoch; the others have two thirds and a sixth as many.
        rounds: of turns.
        longest: frames that every sentence is padded to in `pad1500`.
    """
    lengths = phoenix.lengths()
    at_random = batches.random_plans(lengths, batch, MULTIPLE)
    to_longest = [BatchPlan(plan.epoch, longest, plan.rows) for plan in at_random]
    samples = {
        "ours": batches.sampled(batches.bucketed_plans(lengths, batch, 8), sample),
        # Each of these is a shape to compile, and their times lie closer together.
        "random": batches.sampled(at_random, max(1, sample * 2 // 3)),
        "pad1500": batches.sampled(to_longest, max(1, sample // 6)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in samples}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "data"
        samples = batches.write(root, samples)
        ours = Ours(root, size, batch)
        for some in samples.values():
            ours.compile(some)
        for _ in range(rounds):
            for name, some in samples.items():
                seconds[name].append(ours.end_to_end(some))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    frames = float(lengths.mean()) * batch
    for name, median in medians.items():
        print(f"{name:8} {median:6.2f} s a batch, {frames / median:8,.0f} real frames a second")
    return {
        "epoch_frames_per_second": frames / medians["ours"],
        "epoch_speedup_vs_pad1500": medians["pad1500"] / medians["ours"],
        "epoch_speedup_vs_random": medians["random"] / medians["ours"],
    }


def main() -> None:
    """Prints the figures."""
    parser = figures.parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(
        parser,
        batch=(16, "sentences a batch"),
        sample=(6, "batches of each kind that stand for its epoch"),
        rounds=(3, "turns whose median counts"),
        longest=(1500, "frames that everything is padded to in one of the kinds"),
    )
    process.keep_freed_memory()  # as training does
    figures.run(parser, measure)


if __name__ == "__main__":
    main()

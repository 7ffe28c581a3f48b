"""python -m tools.benchmark.checkpoint [--size=base --rows=4 --frames=480 --saves=5] [--folder=DIR]

Measures the share of training's time that checkpoints cost: in stage 2, with a moving average of the
weights, at the config's own intervals. Each save is the training loop's, `Checkpoints.save`, after some
steps without writing. Its cost has two parts: the seconds for which it holds up the loop, and the
seconds by which the steps until all is on disk take longer than as many steps before. The first saves,
as many as are kept, do not count: they compile, and have no old checkpoint to delete. Batches are a
quarter of stage 2's, so that on a CPU more than one step ends while a checkpoint is written.

Between two saves lie `every_minutes` or `every_steps`, whichever is sooner. --folder names the folder to
write in, by default the system's temporary one; what is written is deleted.
"""

import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax

from configs import base
from tools.benchmark import figures, training
from tools.benchmark.figures import Figures
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.evaluate import trained_run
from wsign_jax.runtime import process
from wsign_jax.train import config_schema, sharding
from wsign_jax.train.checkpoint.store import Checkpoints

_QUIET_STEPS = 6  # before each save


@dataclasses.dataclass(frozen=True)
class Save:
    """The times of one save, in seconds."""

    quiet: Sequence[float]  # of each step before it
    stalled: float  # in which no step could begin
    busy: Sequence[float]  # of each step while the files were written

    @property
    def cost(self) -> float:
        """Seconds by which the save delays training."""
        undisturbed = statistics.median(self.quiet) * len(self.busy)
        return self.stalled + sum(self.busy) - undisturbed


class Loop:
    """The training loop, without its data: steps and saves, timed."""

    def __init__(self, size: str, rows: int, frames: int, folder: pathlib.Path):
        config = base.get_config()
        config.model.size, config.training.ema = size, 0.999
        config_schema.check_config(config)
        self.config = config
        run = trained_run.make_untrained(config, training.VOCAB_SIZE)
        setup = training.Training(config, run.network)
        self.saved = Checkpoints(folder, config.checkpoint.keep)
        self._info = run.info
        self._state, self._step = setup.state(run.params), setup.step()
        batch = training.signing_batch(rows, frames)
        self._inputs = (sharding.put_batch(batch, run.network.mesh), setup.settings)

    def step(self) -> float:
        """Runs a step and returns its seconds."""
        began = time.perf_counter()
        self._state, metrics = self._step(self._state, *self._inputs)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - began

    def save(self) -> Save:
        """Times some steps, a save, and the steps until it is on disk."""
        quiet = [self.step() for _ in range(_QUIET_STEPS)]
        stalled = self.saved.save(self._state, self._info)
        busy = []
        while self.saved.poll() is None:
            busy.append(self.step())
        return Save(quiet, stalled, busy)

    def warm_up(self) -> None:
        """Compiles, and fills the folder."""
        for _ in range(self.config.checkpoint.keep):
            self.step()
            self.saved.save(self._state, self._info)
        self.saved.wait()

    def close(self) -> None:
        """Waits for the last save."""
        self.saved.close()

    def megabytes(self) -> float:
        """The size of the newest checkpoint."""
        newest = self.saved.path(max(self.saved.steps))
        return sum(path.stat().st_size for path in newest.rglob("*") if path.is_file()) / 1e6


def share(saves: Sequence[Save], every_seconds: float, every_steps: int) -> float:
    """The share of the time from one save to the next that the save costs."""
    step = statistics.median(seconds for save in saves for seconds in save.quiet)
    cost = statistics.median(save.cost for save in saves)
    stalled = statistics.median(save.stalled for save in saves)
    return cost / (stalled + min(every_seconds, every_steps * step))


def measure(
    size: str, rows: int, frames: int, saves: int, folder: pathlib.Path | None = None
) -> Figures:
    """Prints a row for every save; returns the share and its parts."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        contextlib.closing(Loop(size, rows, frames, pathlib.Path(own))) as loop,
    ):
        loop.warm_up()
        megabytes, every = loop.megabytes(), loop.config.checkpoint
        print(f"{size} with a moving average, {rows} x {frames} frames, {megabytes:.0f} MB a save")
        print(f"{'step':>8}{'stalled':>9}{'written':>9}{'cost':>9} s   steps meanwhile")
        timed = []
        for _ in range(saves):
            timed.append(save := loop.save())
            step, written = statistics.median(save.quiet), save.stalled + sum(save.busy)
            print(
                f"{step:8.2f}{save.stalled:9.2f}{written:9.2f}{save.cost:9.2f}{len(save.busy):18}",
                flush=True,
            )
    found = share(timed, 60 * every.every_minutes, every.every_steps)
    intervals = f"{every.every_minutes:g} minutes or {every.every_steps} steps"
    print(f"a save every {intervals}: {found:.2%} of the time")
    return {
        "checkpoint_stall_share": found,
        "checkpoint_stall_seconds": statistics.median(save.stalled for save in timed),
        "checkpoint_cost_seconds": statistics.median(save.cost for save in timed),
        "checkpoint_megabytes": megabytes,
    }


def main() -> None:
    """Parses the flags."""
    parser = figures.parser(__doc__)
    parser.add_argument("--size", type=figures.size, default="base", help="of the model (base)")
    figures.add_counts(
        parser, rows=(4, "of a batch"), frames=(480, "of a row"), saves=(5, "that are measured")
    )
    parser.add_argument("--folder", type=pathlib.Path, help="to save in (a temporary one)")
    process.keep_freed_memory()  # as training does
    flags = vars(figures.parse(parser))
    with exit_on_user_error():
        figures.write(flags.pop("json"), measure(**flags))


if __name__ == "__main__":
    main()

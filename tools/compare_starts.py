"""python tools/compare_starts.py --whisper=DIR [--data=data/processed] [--out=runs/starts]
    [--config=configs/asl_whisper.py] [--seeds=42,43,44] [--config.FIELD=VALUE ...]

Trains a config from Whisper's weights and from random ones, with each seed, one run after another. All
else is the same. Prints a table of greedy WER on validation and test: every run's, means and sample
standard deviations. The same command goes on where it was stopped; --report only shows the runs that are
finished.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys

from wsign_jax.common.errors import WSignError, exit_on_user_error, known_flags

_STARTS = ("whisper", "random")
_SPLITS = ("val", "test")
_CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "asl_whisper.py"

Errors = dict[tuple[int, str], dict[str, float]]  # WER by split, for each seed and start


def report_of(run: pathlib.Path, split: str) -> pathlib.Path:
    """The path of the report that evaluation writes into a run's folder."""
    return run / f"report_{split}.json"


def train(flags: list[str], run: pathlib.Path) -> None:
    """Trains a run to its end and evaluates both splits, unless that is done already.

    Raises:
        SystemExit: a command failed; with its exit status. It has said why.
        WSignError: it stopped before its end.
    """
    for mode, split in (("train", "test"), ("evaluate", "val")):
        if report_of(run, split).exists():
            continue
        command = [sys.executable, "-m", "wsign_jax.main", *flags, f"--workdir={run}"]
        command += [f"--config.mode={mode}", f"--config.eval.split={split}"]
        print(f"{run}: {mode}, {split}", flush=True)
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        if not report_of(run, split).exists():
            raise WSignError(f"{run}: stopped before its end; the same command goes on")


def read(out: pathlib.Path, seeds: list[int]) -> Errors:
    """Reads the figures of the runs that are finished."""
    return {
        (seed, start): {
            split: json.loads(report_of(run, split).read_text(encoding="utf-8"))["wer"]
            for split in _SPLITS
        }
        for seed, start in itertools.product(seeds, _STARTS)
        if all(report_of(run := out / str(seed) / start, split).exists() for split in _SPLITS)
    }


def table(errors: Errors) -> str:
    """Makes a table in Markdown: a row per start, 'validation / test' per seed finished from both."""
    seeds = [seed for seed, start in errors if start == "whisper" and (seed, "random") in errors]
    if not seeds:
        raise WSignError("no seed is finished from both starts; train them without --report")
    rows = [["start", *(f"seed {seed}" for seed in seeds), "mean", "standard deviation"]]
    rows.append(["---"] * len(rows[0]))
    for start in _STARTS:
        of_split = {split: [errors[seed, start][split] for seed in seeds] for split in _SPLITS}
        cells = [
            [f"{wer:.3f}" for wer in (*wers, statistics.mean(wers), _spread(wers))]
            for wers in of_split.values()
        ]
        rows.append([start, *(" / ".join(pair) for pair in zip(*cells, strict=True))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _spread(wers: list[float]) -> float:
    return statistics.stdev(wers) if len(wers) > 1 else 0.0


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Parses the tool's own flags, and those for every training."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False, add_help=False)
    parser.add_argument("--whisper", default="")
    parser.add_argument("--data", default="data/processed")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/starts"))
    parser.add_argument("--config", default=str(_CONFIG))
    parser.add_argument("--seeds", default="42,43,44")
    parser.add_argument("--report", action="store_true")
    own, rest = known_flags(parser)
    try:
        own.seeds = [int(seed) for seed in own.seeds.split(",")]
    except ValueError as error:
        raise WSignError(f"in the command line: {error}") from None
    if not own.report and not own.whisper:
        raise WSignError("--whisper is missing; name a folder with Whisper's weights")
    return own, rest


def main() -> None:
    """Trains and evaluates the runs, and prints the table."""
    if "--help" in sys.argv:
        print(__doc__)
        return
    with exit_on_user_error():
        own, rest = arguments()
        if not own.report:
            # Seed by seed, so that finished seeds can be compared early.
            for seed, start in itertools.product(own.seeds, _STARTS):
                source = f"whisper:{own.whisper}" if start == "whisper" else ""
                flags = [f"--config={own.config}", f"--config.data.dir={own.data}", *rest]
                flags += [f"--config.training.seed={seed}", f"--config.init_from={source}"]
                train(flags, own.out / str(seed) / start)
        print(table(read(own.out, own.seeds)))


if __name__ == "__main__":
    main()

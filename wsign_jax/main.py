"""python -m wsign_jax.main --config=configs/demo.py [--workdir=DIR] [--config.FIELD=VALUE ...]
    [--coordinator=HOST:PORT --num_processes=N --process_id=I | --distributed] [--patience=SECONDS]

Trains the stages of a config, going on where an earlier run in the workdir ended, and evaluates the best
checkpoint on `config.eval.split`; with --config.mode=evaluate it only evaluates. SIGTERM and Ctrl-C save
and exit with 0, a second Ctrl-C stops at once. Exit status 2 is a mistake in the call, the config or the
data, or a full disk, 1 a loss that is not a number or another process lost.
"""

import gc
import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from wsign_jax import heap, hosts
from wsign_jax.errors import WSignError, exit_on_user_error, one_line


def parse(argv: Sequence[str]) -> tuple[ConfigDict, pathlib.Path]:
    """The config with its overrides, and the workdir.

    Raises:
        WSignError: an unknown flag or field (names the nearest), a value of the wrong type, or a
            config file that is missing or broken.
    """
    for flag, following in zip(argv, [*argv[1:], ""], strict=True):
        if flag == "--config" or flag.startswith("--config="):
            # A config imports its neighbours by their folder's name: `from configs import base`.
            file = flag.partition("=")[2] or following
            sys.path.append(str(pathlib.Path(file).absolute().parent.parent))
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=list(argv))
    workdir = flags.DEFINE_string("workdir", "", "the run's folder", flag_values=values)
    try:
        rest = values(list(argv))[1:]
        missing = config.value is None
        # A config file that cannot be loaded says so only when it is first looked at.
        _ = missing or config.value.mode
    except Exception as error:  # whatever a person's own config file may raise
        raise WSignError(f"in the command line: {one_line(error)}") from None
    if rest:
        raise WSignError(f"in the command line: {rest[0]!r} is no flag; write --config.FIELD=VALUE")
    if missing:
        raise WSignError("--config is missing; for a first run: --config=configs/demo.py")
    name = pathlib.Path(config_flags.get_config_filename(values["config"])).stem
    return config.value, pathlib.Path(workdir.value or f"runs/{name}")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    argv = sys.argv if argv is None else argv
    if "--help" in argv:
        return print(__doc__)
    heap.keep()
    # Tracing makes millions of objects that stay: a fifth of its time went into looking for garbage.
    gc.set_threshold(200_000)
    with exit_on_user_error():
        typed = list(argv[1:])
        cluster, argv = hosts.parse(argv)
        config, workdir = parse(argv)
        with hosts.joined(cluster):
            # Imported here, so that a misspelt flag is answered at once.
            from wsign_jax import compiled, evaluate  # noqa: PLC0415
            from wsign_jax.train import loop, start  # noqa: PLC0415

            compiled.keep()
            if config.restart:
                there = start.over(config, workdir)
                typed += there
                config, workdir = parse([*argv, *there])
            if config.mode != "evaluate" and not loop.train(config, workdir):
                print(f"to go on: python -m wsign_jax.main {shlex.join(typed)}", flush=True)
                return
            evaluate.evaluate(config, workdir)


if __name__ == "__main__":
    main()

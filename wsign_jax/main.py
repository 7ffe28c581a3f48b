"""python -m wsign_jax.main --config=configs/demo.py [--workdir=DIR] [--config.FIELD=VALUE ...]
    [--coordinator=HOST:PORT --num_processes=N --process_id=I | --distributed] [--patience=SECONDS]

Trains the stages of a config and evaluates the best checkpoint on `config.eval.split`. Training goes on
where an earlier run in the workdir ended. With --config.mode=evaluate it only evaluates. SIGTERM, SIGHUP
and Ctrl-C save and exit with 0; a second Ctrl-C stops at once. Exit status 2 is a mistake in the call,
the config or the data, or a full disk. Exit status 1 is a loss that is not a number, or another process
lost. Exit status 141 is output that nobody reads any more, once all is saved.
"""

import pathlib
import re
import shlex
import sys
import traceback
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from wsign_jax.common.errors import WSignError, exit_on_user_error, one_line
from wsign_jax.runtime import multihost, process

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "True or False",
    "tuple": "a tuple",
    "ConfigDict": "a block of fields",
}


def parse(argv: Sequence[str]) -> tuple[ConfigDict, pathlib.Path]:
    """Parses the command line into the config with its overrides, and the workdir.

    Raises:
        WSignError: an unknown flag or field (names the nearest), a value of the wrong type, or a
            config file that is missing or broken.
    """
    for flag, following in zip(argv, [*argv[1:], ""], strict=True):
        if flag == "--config" or flag.startswith("--config="):
            # A config imports its neighbors by their folder's name: `from configs import base`.
            file = flag.partition("=")[2] or following
            sys.path.append(str(pathlib.Path(file).absolute().parent.parent))
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=list(argv))
    workdir = flags.DEFINE_string("workdir", "", "the run's folder", flag_values=values)
    try:
        rest = values(list(argv))[1:]
        missing = config.value is None
        # A config file that cannot be loaded says so only when it is first used.
        _ = missing or getattr(config.value, "mode", None)
    except Exception as error:  # whatever a person's own config file may raise
        raise WSignError(
            _in_a_config_file(error) or f"in the command line: {one_line(error)}"
        ) from None
    if rest:
        raise WSignError(
            f"in the command line: {rest[0]!r} is not a flag; write --config.FIELD=VALUE"
        )
    if missing:
        raise WSignError("--config is missing; for a first run: --config=configs/demo.py")
    if not isinstance(config.value, ConfigDict):
        raise WSignError(
            f"--config: its get_config() must return a ConfigDict, not {config.value!r}"
        )
    name = pathlib.Path(config_flags.get_config_filename(values["config"])).stem
    return config.value, pathlib.Path(workdir.value or f"runs/{name}")


def _in_a_config_file(error: Exception) -> str | None:
    """Returns what is wrong in which line of a config file, or None if no file's code failed."""
    # absl and ml_collections raise their own errors, with the text of the first one.
    while not (frames := _own_frames(error)):
        if error.__context__ is None or error.__suppress_context__:
            return None
        error = error.__context__  # type: ignore[assignment]
    what = one_line(error).partition(" Other fields present")[0]
    rejected = re.search(
        r"field '(\w+)' \(reference\)\. (.*) is of original type <class '[\w.]*?(\w+)'> "
        r"and cannot be casted to type <class '[\w.]*?(\w+)'>",
        " ".join(str(error).split()),
    )
    if rejected:
        name, value, given, wanted = rejected.groups()
        value = repr(value) if given == "str" else value
        what = f"{name} is {value}; it must be {_KINDS.get(wanted, wanted)}"
    return f"{frames[-1].filename}, line {frames[-1].lineno} ({frames[-1].line}): {what}"


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Returns the lines of config files in a traceback."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__
        and not re.search(r"^<|[\\/](absl|ml_collections)[\\/]", frame.filename)
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    argv = sys.argv if argv is None else argv
    if "--help" in argv:
        return print(__doc__)
    process.keep_freed_memory()
    with exit_on_user_error():
        typed = list(argv[1:])
        cluster, argv = multihost.parse_cluster(argv)
        config, workdir = parse(argv)
        with multihost.join_cluster(cluster):
            # Imported here, so that a misspelled flag is reported at once.
            from wsign_jax.evaluate import evaluate  # noqa: PLC0415
            from wsign_jax.train import loop, resume  # noqa: PLC0415

            process.keep_compiled_programs()
            if config.restart:
                there = resume.start_over(config, workdir)
                typed += there
                config, workdir = parse([*argv, *there])
            if config.mode != "evaluate" and not loop.train(config, workdir):
                print(f"to go on: python -m wsign_jax.main {shlex.join(typed)}", flush=True)
                return
            evaluate.evaluate(config, workdir)


if __name__ == "__main__":
    main()

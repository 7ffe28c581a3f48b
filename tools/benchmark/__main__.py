"""python -m tools.benchmark [--only=NAME,...] [--out=FILE.json] [--against=FILE.json]
    [--markdown=FILE.json] [--PART.FLAG=VALUE ...]

Runs the parts of the benchmark (tools/benchmark/README.md says what each measures), one after the other,
each in a process of its own, and prints their figures as a table in Markdown. This takes about 45
minutes on two cores; nothing else should run meanwhile.

--PART.FLAG is a flag of one part, for example --extract.video=FILE or --peer.torch_python=PYTHON;
`python -m tools.benchmark.PART --help` lists them.

Targets are for two cores and for parts without flags. If a part fails, for example because PyTorch or a
video is missing, it is named with the reason, and the others go on; the exit status is then 1. Ctrl-C
ends with a table of what was measured.
"""

import argparse
import pathlib
import signal
import sys

from tools.benchmark import figures, parts
from tools.benchmark.table import Record, differences, flags_of, place, table
from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError, exit_on_user_error

_QUIET = 0.7  # the highest load of a machine that does nothing else
_INTERRUPTED = "interrupted"
_TORCH_PYTHON = "--torch_python="  # a flag of the part peer


def chosen(text: str) -> list[str]:
    """The parts that --only names, in the usual order."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in parts.PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(parts.PARTS)}")
    return [name for name in parts.PARTS if name in names]


def parse() -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """Parses the flags, and those of each part that will run."""
    parser = Parser(__doc__)
    add, path = parser.add_argument, pathlib.Path
    add("--only", type=chosen, default=list(parts.PARTS), help=f"some of {', '.join(parts.PARTS)}")
    add("--out", type=figures.new_file, help="a new file of figures, written after each part")
    add("--against", type=path, help="an earlier --out, to compare with")
    add("--markdown", type=path, help="measure nothing, print the table of an earlier --out")
    own, rest = parser.parse_known_args()
    passed: dict[str, list[str]] = {name: [] for name in own.only}
    for flag in rest:
        part, dot, remainder = flag.removeprefix("--").partition(".")
        if dot and part in parts.PARTS and part not in passed:
            raise WSignError(f"in the command line: {flag!r} is of a part that --only leaves out")
        if not (flag.startswith("--") and dot and part in passed):
            raise WSignError(
                f"in the command line: {flag!r} is unknown; flags of a part are --PART.FLAG=VALUE"
            )
        passed[part].append(f"--{remainder}")
    return own, passed


def read(path: pathlib.Path) -> Record:
    """Reads an earlier --out."""
    record = files.read_json(path)
    try:
        place(record), table(record), [part["status"] for part in record["parts"].values()]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise WSignError(f"{path}: not written by tools.benchmark --out") from None
    return record


def measure(passed: dict[str, list[str]], out: pathlib.Path | None) -> Record:
    """Runs the parts until Ctrl-C; writes what is known before and after each."""
    peers = [flag for flag in passed.get("peer", []) if flag.startswith(_TORCH_PYTHON)]
    versions = figures.versions(*(flag.removeprefix(_TORCH_PYTHON) for flag in peers[-1:]))
    record: Record = {"machine": figures.machine(), "versions": versions}
    record |= {"figures": {}, "parts": {}}
    for name, flags in passed.items():
        record["parts"][name] = {"seconds": 0.0, "status": "not run", "flags": flags}
    if record["machine"]["load"] > _QUIET:
        print(f"WARNING: something else runs here (load {record['machine']['load']})", flush=True)
    try:
        for number, name in enumerate(passed, 1):
            record["parts"][name]["status"] = _INTERRUPTED  # unless it ends
            if out is not None:
                files.write_json(out, record)
            print(f"--- {name} ({number} of {len(passed)})", flush=True)
            measure_part(record, name)
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
    if out is not None:
        files.write_json(out, record)
    return record


def measure_part(record: Record, name: str) -> None:
    """Runs a part, and records its figures or its failure."""
    part = record["parts"][name]
    outcome = parts.run(name, part["flags"])
    failure = outcome.failure
    if twice := outcome.figures.keys() & record["figures"].keys():
        failure = f"another part has measured {', '.join(sorted(twice))} too"
    else:
        record["figures"] |= outcome.figures
    part["seconds"] = round(outcome.seconds, 1)
    part["status"] = "ok" if failure is None else f"failed: {failure}"
    print(f"--- {name}: {part['status']}, {outcome.seconds:.0f} s\n", flush=True)


def report(record: Record, earlier: Record | None) -> None:
    """Prints the machine, the table, and what failed."""
    print(place(record), end="\n\n")
    if earlier is not None and (changed := differences(record, earlier)):
        print(f"WARNING: not comparable as it stands: {'; '.join(changed)}\n")
    if record["figures"]:
        print(table(record, earlier))
    if given := flags_of(record):
        print(f"with {given}\n")
    if earlier is not None and not record["figures"].keys() & earlier["figures"].keys():
        print("The earlier run has no figure of these.\n")
    for name, part in record["parts"].items():
        if part["status"] != "ok":
            print(f"{name} {part['status']}")


def main() -> int:
    """Runs the command; the exit status is 1 if a part failed."""
    with exit_on_user_error():
        flags, passed = parse()
        earlier = None if flags.against is None else read(flags.against)
        if flags.markdown is not None:
            report(read(flags.markdown), earlier)
            return 0
        for name, given in passed.items():
            if given:  # so that a mistake is not found half an hour later
                parts.check(name, given)
        if flags.out is not None:
            flags.out.parent.mkdir(parents=True, exist_ok=True)
        record = measure(passed, flags.out)
        report(record, earlier)
    statuses = {part["status"] for part in record["parts"].values()}
    return 130 if _INTERRUPTED in statuses else int(statuses != {"ok"})


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM ends the part too
    sys.exit(main())

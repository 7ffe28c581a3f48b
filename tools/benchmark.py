"""python tools/benchmark.py [--only=NAME,...] [--out=FILE.json] [--against=FILE.json]
    [--PART.FLAG=VALUE ...]

Runs the parts of the benchmark (tools/benchmark/README.md says what each measures), one after the other,
each in a process of its own, and prints their figures as a table in Markdown. Nothing else should run
meanwhile.

    --only       some of the parts: input, step, epoch, cold_start, peer, decode, stream, extract,
                 recognize, checkpoint
    --out        a new file for the figures, with the machine and the versions
    --against    an earlier --out, to compare with
    --PART.FLAG  a flag of one part, such as --extract.video=FILE or --peer.torch_python=PYTHON
    --markdown   measures nothing: prints the table of an earlier --out

A part that fails, for want of PyTorch or a video say, is named with its reason, and the others go on;
the exit status is then 1.
"""

import argparse
import pathlib
import sys

from tools.benchmark import figures, parts
from tools.benchmark.table import Record, differences, place, table
from wsign_jax.data import layout
from wsign_jax.errors import WSignError, exit_on_user_error, known_flags

_TORCH_PYTHON = "--torch_python="  # of the part peer


def chosen(text: str) -> list[str]:
    """The parts that --only names, in the order of all."""
    names = text.split(",")
    for name in names:
        if name not in parts.PARTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(parts.PARTS)}")
    return [name for name in parts.PARTS if name in names]


def parse() -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """The flags, and those of each part that is to run."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--only", type=chosen, default=list(parts.PARTS))
    parser.add_argument("--out", type=figures.new_file)
    for name in ("against", "markdown"):
        parser.add_argument(f"--{name}", type=pathlib.Path)
    own, rest = known_flags(parser)
    passed: dict[str, list[str]] = {name: [] for name in own.only}
    for flag in rest:
        part, dot, remainder = flag.removeprefix("--").partition(".")
        if not (flag.startswith("--") and dot and part in passed):
            raise WSignError(
                f"in the command line: {flag!r} is unknown, or of a part that does not run; see --help"
            )
        passed[part].append(f"--{remainder}")
    return own, passed


def read(path: pathlib.Path) -> Record:
    """An earlier --out."""
    record = layout.read_json(path)
    try:
        place(record), table(record), [part["status"] for part in record["parts"].values()]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise WSignError(f"{path}: not written by tools/benchmark.py --out") from None
    return record


def measure(passed: dict[str, list[str]], out: pathlib.Path | None) -> Record:
    """Runs the parts; what is known is written after each."""
    peers = [flag for flag in passed.get("peer", []) if flag.startswith(_TORCH_PYTHON)]
    versions = figures.versions(*(flag.removeprefix(_TORCH_PYTHON) for flag in peers[-1:]))
    record: Record = {"machine": figures.machine(), "versions": versions}
    record |= {"figures": {}, "parts": {}}
    if out is not None:
        layout.write_json(out, record)  # or fail now, not in an hour
    for number, (name, flags) in enumerate(passed.items(), 1):
        print(f"--- {name} ({number} of {len(passed)})", flush=True)
        outcome = parts.run(name, flags)
        failure = outcome.failure
        if twice := outcome.figures.keys() & record["figures"].keys():
            failure = f"another part has measured {', '.join(sorted(twice))} too"
        else:
            record["figures"] |= outcome.figures
        status = "ok" if failure is None else f"failed: {failure}"
        record["parts"][name] = {
            "seconds": round(outcome.seconds, 1),
            "status": status,
            "flags": flags,
        }
        print(f"--- {name}: {status}, {outcome.seconds:.0f} s\n", flush=True)
        if out is not None:
            layout.write_json(out, record)
    return record


def report(record: Record, earlier: Record | None) -> None:
    """Prints where it was measured, the table, and what failed."""
    print(place(record), end="\n\n")
    if earlier is not None and (changed := differences(record, earlier)):
        print(f"WARNING: not comparable as it stands: {'; '.join(changed)}\n")
    print(table(record, earlier))
    for name, part in record["parts"].items():
        if part["status"] != "ok":
            print(f"{name} {part['status']}")


def main() -> int:
    """The command; the exit status is 1 where a part failed."""
    if "--help" in sys.argv:
        print(__doc__)
        return 0
    with exit_on_user_error():
        flags, passed = parse()
        earlier = None if flags.against is None else read(flags.against)
        if flags.markdown is not None:
            report(read(flags.markdown), earlier)
            return 0
        if flags.out is not None:
            flags.out.parent.mkdir(parents=True, exist_ok=True)
        record = measure(passed, flags.out)
        report(record, earlier)
    return int(any(part["status"] != "ok" for part in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())

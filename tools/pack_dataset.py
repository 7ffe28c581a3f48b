"""python tools/pack_dataset.py DATA OUT [--examples_per_shard=256] [--on_bad=skip]

Copies a data set, and packs its features and labels, two files per example, into few large ArrayRecord
files. The copy is used like the data set itself, and trains the same, to the last bit. Few files are
faster to copy, and faster to read if each file takes long to open, for example on a mounted Drive.

Examples that are bad for every model are named, one per line, and no file is written; with --on_bad=skip
they are left out. OUT is a new or an empty folder.
"""

import argparse
import pathlib

from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data import pack


def main() -> None:
    """Parses the flags and calls `pack.pack`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", type=pathlib.Path)
    parser.add_argument("out", metavar="OUT", type=pathlib.Path)
    parser.add_argument("--examples_per_shard", type=int, default=256)
    parser.add_argument("--on_bad", choices=("error", "skip"), default="error")
    flags = parser.parse_args()
    with exit_on_user_error():
        pack.pack(flags.data, flags.out, flags.examples_per_shard, flags.on_bad)
        print(f"wrote {flags.out}")


if __name__ == "__main__":
    main()

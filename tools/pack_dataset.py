"""python tools/pack_dataset.py DATA OUT [--examples_per_shard=256] [--on_bad=skip]

Copies a data set, and packs its features and labels, two files per example, into few large ArrayRecord
files. The copy is used like the data set itself, and trains the same, to the last bit. Few files are
faster to copy, and faster to read if each file takes long to open, for example on a mounted Drive.

Examples that are bad for every model are named, one per line, and no file is written; with --on_bad=skip
they are left out. OUT is a new or an empty folder.
"""

import pathlib

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data import pack


def main() -> None:
    """Parses the flags and calls `pack.pack_dataset`."""
    parser = Parser(__doc__)
    parser.add_argument("data", metavar="DATA", type=pathlib.Path)
    parser.add_argument("out", metavar="OUT", type=pathlib.Path)
    parser.add_argument("--examples_per_shard", type=int, default=256)
    parser.add_argument("--on_bad", choices=("error", "skip"), default="error")
    with exit_on_user_error():
        flags = parser.parse_args()
        pack.pack_dataset(flags.data, flags.out, flags.examples_per_shard, flags.on_bad)
        print(f"wrote {flags.out}")


if __name__ == "__main__":
    main()

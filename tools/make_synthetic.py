"""python tools/make_synthetic.py OUT [--glosses N] [--train N] [--noise X] [--random] ...

Writes a data set of procedural signing, for users without recordings, to a new or an empty folder.
"""

import pathlib

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error
from wsign_jax.data.generated import synthetic


def main() -> None:
    """Parses the flags and calls `synthetic.write_dataset`."""
    usual = synthetic.SigningSettings()
    parser = Parser(__doc__)
    parser.add_argument("out", metavar="OUT", type=pathlib.Path, help="a new or an empty folder")
    for name, kind, what in (
        ("glosses", int, f"vocabulary without the blank, 1 to {synthetic.MAX_GLOSSES}"),
        ("train", int, "training sentences"),
        ("val", int, "validation sentences"),
        ("test", int, "test sentences"),
        ("signers", int, "training signers; none of them signs the other splits"),
        ("seed", int, "the same seed makes the same data"),
        ("noise", float, "scales the tracker's errors; 0 is a perfect tracker"),
    ):
        value = getattr(usual, name)
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{what} ({value})")
    parser.add_argument("--random", action="store_true", help="pure noise, to try the plumbing")
    with exit_on_user_error():
        flags = vars(parser.parse_args())
        out, random = flags.pop("out"), flags.pop("random")
        settings = synthetic.SigningSettings(**flags)
        synthetic.write_dataset(out, settings, random=random, progress=print)
        content = "random numbers" if random else "signing"
        print(f"wrote {out}: {content}, {settings.glosses} glosses, seed {settings.seed}")


if __name__ == "__main__":
    main()

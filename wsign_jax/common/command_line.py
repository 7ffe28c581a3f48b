"""The command lines of tools: one kind of parser, and the flags that several share.

with exit_on_user_error():
    flags = parse()  # with a `Parser`
"""

import argparse
import pathlib
from typing import NoReturn

from wsign_jax.common.errors import WSignError


class Parser(argparse.ArgumentParser):
    """Takes flags in full, and shows a tool's docstring for `--help`; a mistake is a `WSignError`."""

    def __init__(self, doc: str | None):
        super().__init__(
            usage=argparse.SUPPRESS,
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raises the error that argparse would print after the usage."""
        raise WSignError(f"in the command line: {message}; see --help")

    def add_checkpoint(self, kind: str = "a run's folder (its best), or a checkpoint's") -> None:
        """Adds `--checkpoint`."""
        self.add_argument(
            "--checkpoint", metavar="RUN", type=pathlib.Path, required=True, help=kind
        )

    def add_out(self, kind: str, required: bool = False) -> None:
        """Adds `--out`."""
        self.add_argument("--out", metavar="PATH", type=pathlib.Path, required=required, help=kind)

    def add_unknown(self) -> None:
        """Adds `--unknown`."""
        kind = "signs that fit no gloss well enough; mark: as <unknown> (off)"
        self.add_argument("--unknown", choices=("off", "mark", "drop"), default="off", help=kind)

    def add_video_options(self) -> None:
        """Adds `--workers` and `--model`, which tools that find hands in videos have."""
        how_many = "processes that read videos; 0: one a core"
        self.add_argument("--workers", metavar="N", type=int, default=0, help=how_many)
        own = "a copy of MediaPipe's hand_landmarker.task"
        self.add_argument("--model", metavar="FILE", type=pathlib.Path, help=own)

"""What can go wrong in a way that a person should read about, and how a command reports it."""

import argparse
import contextlib
import io
import os
import reprlib
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags


class WSignError(ValueError):
    """Something a person can fix: the message names the file or field and says the fix."""


class DivergedError(RuntimeError):
    """Training met a loss that is not a number: the message says where, and what is left."""


def shown(value: Any) -> str:
    """A value that somebody gave as a message shows it: short, and on one line."""
    return " ".join(reprlib.repr(value).split())


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Reports without a traceback: a `WSignError`, or a file that cannot be read or written, with exit
    status 2, a `DivergedError` with 1, Ctrl-C with 130, a reader of its output that is gone with 141.

    From then on stdout and stderr can be written to, whatever they are: what they cannot encode is
    escaped, and one that is closed goes nowhere.
    """
    _open_streams()
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)  # as a shell reports SIGINT
    except (WSignError, DivergedError) as error:
        print(f"error: {_on_a_screen(str(error))}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, WSignError) else 1)
    except BrokenPipeError:  # `| head` has read enough, say
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # or Python complains of it at exit
            print("ended: nobody reads its output any more", file=sys.stderr, flush=True)
        sys.exit(141)  # as a shell reports SIGPIPE
    except OSError as error:
        if error.strerror is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        if not where and _is_folder_gone():
            where = "the current folder was deleted, cd to another: "
        print(f"error: {_on_a_screen(where)}{error.strerror}", file=sys.stderr, flush=True)
        sys.exit(2)


def _open_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _on_a_screen(text: str) -> str:
    """The text with control characters escaped: a file's name or content must not steer a terminal."""
    control = ("Cc", "Cs", "Zl", "Zp")  # of Unicode: with line and paragraph separators
    return "".join(
        ascii(c)[1:-1] if c != "\n" and unicodedata.category(c) in control else c for c in text
    )


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def known_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> tuple[argparse.Namespace, list[str]]:
    """The flags that a parser made with `exit_on_error=False` knows, and the rest of the command line.

    Raises:
        WSignError: a flag has a value of the wrong kind.
    """
    try:
        return parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise WSignError(f"in the command line: {error}") from None


def parse_flags(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line by a parser made with `exit_on_error=False`; this adds `--help`.

    Raises:
        WSignError: a flag is unknown, or has a value of the wrong kind.
    """
    parser.add_argument("--help", action="store_true")
    flags, rest = known_flags(parser)
    if rest:
        raise WSignError(f"in the command line: {rest[0]!r} is unknown; see --help")
    return flags


def one_line(error: Exception) -> str:
    """What is wrong with a command line: ml_collections quotes errors in errors, line breaks and all."""
    text = str(error)
    while len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].replace("\\n", " ").replace("\\", "")
    text = " ".join(text.split())
    if isinstance(error, KeyError | AttributeError):
        return f"no field {text}"
    return text if isinstance(error, flags.Error | OSError) else f"{type(error).__name__}: {text}"

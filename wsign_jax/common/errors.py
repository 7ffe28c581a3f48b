"""The errors that a person should read about, and how a command reports them."""

import contextlib
import io
import os
import re
import reprlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from absl import flags

# Control characters, Unicode's two line breaks, and bytes of a file's name that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class WSignError(ValueError):
    """An error that a person can fix: the message names the file or field and says the fix."""


class DivergedError(RuntimeError):
    """A loss that is not a number: the message says where training met it, and what is left."""


def shown(value: Any) -> str:
    """Returns a value as a message shows it: short, and on one line."""
    return " ".join(reprlib.repr(value).split())


def printable(text: str) -> str:
    """Escapes what a line of a terminal or of a UTF-8 file cannot show; JSON stays JSON."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Reports errors without a traceback, and exits.

    The exit status is 2 for a `WSignError` or a file that cannot be read or written, 1 for a
    `DivergedError`, 130 for Ctrl-C, and 141 if the reader of the output is gone.

    From then on stdout and stderr can always be written to: characters that they cannot encode are
    escaped, and output to a closed one is discarded.
    """
    _open_streams()
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)  # as a shell reports SIGINT
    except (WSignError, DivergedError) as error:
        # A message may have several lines, but a file's name or content must not steer the terminal.
        said = "\n".join(map(printable, str(error).split("\n")))
        print(f"error: {said}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, WSignError) else 1)
    except BrokenPipeError:  # for example, `| head` has read enough
        discard_output(sys.stdout)  # otherwise Python complains at exit
        try:
            print("ended: nobody reads its output any more", file=sys.stderr, flush=True)
        except OSError:  # the reader was that of both
            discard_output(sys.stderr)
        sys.exit(141)  # as a shell reports SIGPIPE
    except OSError as error:
        if error.strerror is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        if not where and _is_folder_gone():
            where = "the current folder was deleted, cd to another: "
        print(f"error: {printable(where)}{error.strerror}", file=sys.stderr, flush=True)
        sys.exit(2)


def discard_output(stream: TextIO) -> None:
    """Lets everything that is written to a stream go nowhere from here on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _open_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def one_line(error: Exception) -> str:
    """Returns on one line what is wrong with a command line.

    ml_collections quotes errors in errors, with their line breaks.
    """
    text = str(error)
    while len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].replace("\\n", " ").replace("\\", "")
    text = " ".join(text.split())
    if isinstance(error, KeyError | AttributeError):
        return f"no field {text}"
    return text if isinstance(error, flags.Error | OSError) else f"{type(error).__name__}: {text}"

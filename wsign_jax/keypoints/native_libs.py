"""Native libraries: which packages and system libraries they need, and what they log."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from wsign_jax.common.errors import WSignError

# System packages that MediaPipe and its OpenCV need and do not bring.
DEBIAN_PACKAGES = ("libegl1", "libgles2", "libgl1", "libglib2.0-0")

# MediaPipe logs to the file descriptor, whatever the environment says. Its errors begin with E or F.
_NOISE = re.compile(r"[IW]\d{4} |INFO: |WARNING: (Logging|All log messages) before |\s*$")


@contextlib.contextmanager
def explain_missing_library() -> Iterator[None]:
    """Turns the failure to load something native into a `WSignError` that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; keypoints from video need pip install -e ".[video]"'
        ) from None
    except (ImportError, OSError) as error:
        if "cannot open shared object file" not in str(error):
            raise
        library = str(error).split(":")[0]
        raise WSignError(
            f"the system library {library} is missing; on Debian or Ubuntu: "
            f"apt-get install {' '.join(DEBIAN_PACKAGES)}"
        ) from None


@contextlib.contextmanager
def hide_native_log() -> Iterator[None]:
    """Keeps the log of MediaPipe's native code off stderr, but for errors.

    Errors in the log are printed at the end. Everything that Python writes is printed at once.
    """
    sys.stderr.flush()
    own = os.dup(2)
    python, kept = sys.stderr, os.fdopen(os.dup(own), "w", buffering=1, errors="replace")
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            if _writes_to(python, 2):
                sys.stderr = kept
            try:
                yield
            finally:
                os.dup2(own, 2)
                log.seek(0)
                for line in log_complaints(log.read()):
                    print(line, file=kept)
    finally:
        sys.stderr = python
        kept.close()
        os.close(own)


def log_complaints(log: bytes) -> list[str]:
    """Returns the lines of a native log that a person should see, without those of normal running."""
    lines = log.decode(errors="replace").splitlines()
    return [line for line in lines if not _NOISE.match(line)]


def _writes_to(stream: Any, descriptor: int) -> bool:
    try:
        return bool(stream.fileno() == descriptor)
    except (AttributeError, OSError, ValueError):  # not a file, as in a notebook
        return False

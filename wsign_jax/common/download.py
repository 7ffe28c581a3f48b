"""Downloads a file once, and keeps it only if it is the published one."""

import contextlib
import os
import pathlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError

_SECONDS = 60.0  # without a byte


def download(
    url: str, path: pathlib.Path, check: Callable[[pathlib.Path], None], what: str, copy: str
) -> None:
    """Downloads `url` to `path`, whole or not at all.

    Args:
        url: where it is published.
        path: where it is kept; the folders to it are made.
        check: raises a `WSignError` if the file that it is given is not the published one.
        what: the file in a word, for messages: 'model'.
        copy: the flag that names a copy, for messages: '--model=FILE'.

    Raises:
        WSignError: it cannot be downloaded or kept, or `check` raises.
    """
    print(f"downloading {url} to {path}", flush=True)
    partial = files.temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            partial.open("xb") as file,
            urllib.request.urlopen(url, timeout=_SECONDS) as response,
        ):
            shutil.copyfileobj(response, file)
        check(partial)
        os.replace(partial, path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WSignError(
            f"{path}: the {what} is not here and cannot be downloaded ({error}); put {url} there, or "
            f"name a copy with {copy}"
        ) from None
    except OSError as error:
        raise WSignError(
            f"{path}: the {what} cannot be kept there ({error.strerror}); name a copy of {url} with "
            f"{copy}, or another folder with XDG_CACHE_HOME=DIR"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # its folder may be missing
            partial.unlink()

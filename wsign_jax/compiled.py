"""Compiled programs, kept from process to process."""

import hashlib
import os
import pathlib
import platform

import jax


def keep() -> None:
    """Has JAX keep compiled programs in `<cache>/wsign_jax/<machine>`, and use what is there.

    `<cache>` is `XDG_CACHE_HOME` if that is an absolute path, otherwise `~/.cache`. A person who has
    said something else goes first, by JAX's own `JAX_COMPILATION_CACHE_DIR=DIR` or
    `JAX_ENABLE_COMPILATION_CACHE=0`. If there is no home, or the folder cannot be written, nothing is
    kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    try:
        folder = _cache() / "wsign_jax" / _machine()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _cache() -> pathlib.Path:
    """The person's folder of caches. Raises RuntimeError if the person has no home."""
    told = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has a relative path ignored.
    return told if told.is_absolute() else pathlib.Path.home().absolute() / ".cache"


def _machine() -> str:
    """A name for machines with one kind of processor: a home may be shared with others, on which
    programs made here would not run."""
    about = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags"))})
        )
    except OSError:
        pass  # not on Linux: what Python knows has to do
    return hashlib.sha256(about.encode()).hexdigest()[:12]

"""Settings that keep compiled programs for the next process, and freed memory for the next step."""

import ctypes
import glob
import hashlib
import os
import pathlib
import platform


def keep_compiled_programs() -> None:
    """Makes JAX keep compiled programs in `<cache>/wsign_jax/<machine>`, and use those that are there.

    `<cache>` is `XDG_CACHE_HOME` if that is an absolute path, otherwise `~/.cache`. A person's own
    choice goes first: JAX's `JAX_COMPILATION_CACHE_DIR=DIR` or `JAX_ENABLE_COMPILATION_CACHE=0`.
    Without a home, or if the folder cannot be written, JAX keeps nothing.
    """
    import jax  # noqa: PLC0415 (the functions called before do without it)

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


def portable_programs() -> pathlib.Path | None:
    """Returns the folder in which JAX keeps compiled programs, if other machines can use them.

    A CPU's programs run only on the same kind of CPU. With several processes only one keeps programs,
    and if only that one found them, it would not wait for the others while they compile theirs.
    """
    import jax  # noqa: PLC0415

    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if folder is None or "://" in folder or jax.process_count() > 1:
        return None
    return None if jax.default_backend() == "cpu" else pathlib.Path(folder)


def _cache() -> pathlib.Path:
    """Returns the person's cache folder; raises RuntimeError if the person has no home."""
    told = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return told if told.is_absolute() else pathlib.Path.home().absolute() / ".cache"


def _machine() -> str:
    """Returns a name for machines with this kind of processor.

    A home may be shared with other machines, on which programs made here would not run.
    """
    about = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags"))})
        )
    except OSError:
        pass  # not on Linux: only what Python knows
    return hashlib.sha256(about.encode()).hexdigest()[:12]


# <malloc.h>: parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


# GPUs or TPUs: a step's buffers are in their memory, and a host with many cores may need many heaps.
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next request.

    It keeps all that lies below memory in use, and 2 GB above. Call it before any thread allocates:
    a thread that has allocated may have its own heap. With another C library, or if steps run on an
    accelerator, it does nothing.

    A training step on a CPU asks for its buffers anew each time: half a gigabyte and more, which glibc
    would return at the end of each step. The kernel then clears them again and again, which took a tenth
    of a base-size step (measured on two cores).
    """
    if platform.libc_ver()[0] != "glibc" or _steps_elsewhere():
        return
    mallopt = ctypes.CDLL(None).mallopt
    # Otherwise large blocks are mapped, and unmapped as soon as they are free.
    mallopt(_M_MMAP_MAX, 0)
    # Large blocks in heaps other than the first are mapped all the same, so only the first is allowed.
    # XLA's threads then wait for each other when they compile, which takes a little longer.
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TOP_PAD, 2**28)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _steps_elsewhere() -> bool:
    # JAX itself could tell, but it must not be imported before this.
    return os.environ.get("JAX_PLATFORMS") != "cpu" and any(map(glob.glob, _ACCELERATORS))

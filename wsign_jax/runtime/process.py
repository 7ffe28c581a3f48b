"""A process's settings: compiled programs kept for the next process, freed memory for the next step."""

import ctypes
import glob
import hashlib
import os
import pathlib
import platform


def keep_compiled_programs() -> None:
    """Has JAX keep compiled programs in `<cache>/wsign_jax/<machine>`, and use what is there.

    `<cache>` is `XDG_CACHE_HOME` if that is an absolute path, otherwise `~/.cache`. A person who has
    said something else goes first, by JAX's own `JAX_COMPILATION_CACHE_DIR=DIR` or
    `JAX_ENABLE_COMPILATION_CACHE=0`. If there is no home, or the folder cannot be written, nothing is
    kept.
    """
    import jax  # noqa: PLC0415 (what is called before needs none)

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


# <malloc.h>: parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


# A GPU, or TPUs. A step's buffers are in their own memory, and a host of many cores may need many heaps.
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for whoever asks next: all of it that lies below what is in use, and
    2 GB above. Called before any thread has allocated, and so may have a heap of its own. With another C
    library, or where steps run on an accelerator, does nothing.

    A training step on a CPU asks for its buffers anew each time, half a gigabyte and more, which glibc
    would return at the end of each: that the kernel clears them again and again was a tenth of a
    base-size step. (Measured on two cores.)
    """
    if platform.libc_ver()[0] != "glibc" or _steps_elsewhere():
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)  # else large blocks are mapped, and unmapped as soon as they are free
    # Large blocks of other heaps than the first are mapped nevertheless: there is to be none. XLA's
    # threads then wait for each other where they compile, which takes a little longer for it.
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TOP_PAD, 2**28)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _steps_elsewhere() -> bool:
    # JAX itself would tell, but it is not to be imported before this.
    return os.environ.get("JAX_PLATFORMS") != "cpu" and any(map(glob.glob, _ACCELERATORS))

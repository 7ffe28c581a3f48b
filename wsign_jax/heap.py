"""Memory that a process has used stays its own, instead of going back and forth between steps."""

import ctypes
import glob
import os
import platform

# <malloc.h>: parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8

# A GPU, or TPUs. A step's buffers are in their own memory, and a host of many cores may need many heaps.
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


def keep() -> None:
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

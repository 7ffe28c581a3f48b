"""Freed memory that a process keeps."""

import platform
import subprocess
import sys

import pytest

# How often the kernel had to hand out a page for the last of some blocks of a thread, each freed before
# the next: the most of three threads.
_FAULTS = """
import resource
import threading
import numpy as np
from wsign_jax import heap
{}
met = []
def allocate():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**25)
    met.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
for _ in range(3):
    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
print(max(met))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_freed_memory_is_kept_whatever_thread_it_was_of():
    asked, kept = (
        int(subprocess.check_output([sys.executable, "-c", _FAULTS.format(call)]))
        for call in ("", "heap.keep()")
    )
    assert kept < 100 < asked


def test_another_c_library_is_left_alone():
    program = "import platform; platform.libc_ver = lambda: ('', ''); " + _FAULTS.format(
        "heap.keep()"
    )
    assert int(subprocess.check_output([sys.executable, "-c", program])) > 100

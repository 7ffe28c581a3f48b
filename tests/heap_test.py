"""Freed memory that a process keeps."""

import platform
import subprocess
import sys

import pytest

# How often the kernel had to hand out a page for the last of some blocks, each freed before the next.
_FAULTS = """
import resource
import numpy as np
from wsign_jax import heap
{}
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_freed_memory_is_kept():
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

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


on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")


@on_glibc
def test_freed_memory_is_kept_whatever_thread_it_was_of(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # whatever this machine has
    asked, kept = (
        int(subprocess.check_output([sys.executable, "-c", _FAULTS.format(call)]))
        for call in ("", "heap.keep()")
    )
    assert kept < 100 < asked


def faults(change):
    program = _FAULTS.format(f"{change}; heap.keep()")
    return int(subprocess.check_output([sys.executable, "-c", program]))


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults("import platform; platform.libc_ver = lambda: ('', '')") > 100


@on_glibc
def test_with_an_accelerator_memory_is_left_alone_unless_steps_run_on_the_cpu(monkeypatch):
    change = "heap._ACCELERATORS = ('/gone', '/dev/nul[a-z]')"
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert faults(change) > 100
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults(change) < 100

"""Where compiled programs are kept, and who decides."""

import os
import pathlib
import platform
import pwd
import subprocess
import sys

import jax
import pytest

from tests.helpers.processes import ROOT
from wsign_jax.runtime import process

PROGRAM = """
from wsign_jax.runtime import process
process.keep_compiled_programs()
import jax
import jax.numpy as jnp
print(jax.config.jax_compilation_cache_dir)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((64, 64)))
"""


def run(home, **environment):
    """The folder that a process keeps its programs in."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_", "HOME"))}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    whole = inherited | {"HOME": str(home)} | environment
    return subprocess.check_output(command, env=whole, cwd=ROOT, text=True).strip()


def test_programs_are_kept_in_the_users_cache(tmp_path):
    folder = pathlib.Path(run(tmp_path))
    assert folder.parent == tmp_path / ".cache" / "wsign_jax"
    programs = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-cache")}
    assert programs
    assert run(tmp_path) == str(folder)
    again = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-cache")}
    assert again == programs, "the second process used what the first one had kept"
    own = str(tmp_path / "own")  # a person decides
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=own) == own
    off = run(tmp_path / "other", JAX_ENABLE_COMPILATION_CACHE="0")
    assert not list(pathlib.Path(off).glob("*-cache"))


@pytest.fixture
def kept_in(monkeypatch):
    """Says where programs are kept with a home and an XDG_CACHE_HOME, None for neither."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}

    def nobody(uid):  # nor an entry in passwd, as in a container with a user of its own
        raise KeyError(uid)

    def keep(home, cache):
        monkeypatch.setattr(pwd, "getpwuid", nobody)
        for name, value in (("HOME", home), ("XDG_CACHE_HOME", cache)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, str(value))
        jax.config.update(names[0], None)
        process.keep_compiled_programs()
        return jax.config.jax_compilation_cache_dir

    yield keep
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_persons_cache_goes_first_and_where_there_is_none_all_goes_on(kept_in, tmp_path):
    xdg = kept_in(tmp_path, tmp_path / "xdg")
    assert pathlib.Path(xdg).parent == tmp_path / "xdg" / "wsign_jax"
    relative = kept_in(tmp_path / "home", "cache")
    assert pathlib.Path(relative).parent == tmp_path / "home" / ".cache" / "wsign_jax"
    (tmp_path / "file").touch()
    assert kept_in(tmp_path, tmp_path / "file") is None is kept_in(None, None)


@pytest.mark.parametrize(
    ("kept", "backend", "processes", "portable"),
    [
        ("/cache", "gpu", 1, True),
        ("/cache", "cpu", 1, False),
        ("/cache", "gpu", 2, False),
        ("gs://bucket", "tpu", 1, False),
        (None, "tpu", 1, False),
    ],
)
def test_an_accelerators_programs_are_portable(monkeypatch, kept, backend, processes, portable):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", kept)
    try:
        assert process.portable_programs() == (pathlib.Path(kept) if portable else None)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


# How often the kernel had to hand out a page for the last of some blocks of a thread, each freed before
# the next: the most of three threads.
_FAULTS = """
import resource
import threading
import numpy as np
from wsign_jax.runtime import process
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
        for call in ("", "process.keep_freed_memory()")
    )
    assert kept < 100 < asked


def faults(change):
    program = _FAULTS.format(f"{change}; process.keep_freed_memory()")
    return int(subprocess.check_output([sys.executable, "-c", program]))


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults("import platform; platform.libc_ver = lambda: ('', '')") > 100


@on_glibc
def test_with_an_accelerator_memory_is_left_alone_unless_steps_run_on_the_cpu(monkeypatch):
    change = "process._ACCELERATORS = ('/gone', '/dev/nul[a-z]')"
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert faults(change) > 100
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults(change) < 100

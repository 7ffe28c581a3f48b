"""Training runs as a person starts them: processes of their own, on simulated devices, to be killed."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import wsign_jax

ROOT = pathlib.Path(wsign_jax.__file__).parents[1]


def start(
    workdir: pathlib.Path,
    *flags: str,
    devices: int = 1,
    config: str = "tests/helpers/small.py",
    log: pathlib.Path | None = None,
) -> subprocess.Popen[str]:
    """Starts the command on the CPU; `finish` waits for it.

    Args:
        workdir: of the run.
        *flags: further ones.
        devices: simulated.
        config: the file, from the project's folder.
        log: where its output is appended; None keeps it for `finish`.
    """
    command = [sys.executable, "-m", "wsign_jax.main", f"--config={config}"]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    with (log or pathlib.Path(os.devnull)).open("a") as file:
        return subprocess.Popen(
            [*command, f"--workdir={workdir}", *flags],
            cwd=ROOT,
            env=environment,
            stdout=file if log else subprocess.PIPE,
            stderr=file if log else subprocess.PIPE,
            text=True,
        )


def cluster_flags(processes: int) -> list[list[str]]:
    """For each of several processes that train together the flags that join it to the others."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    common = [f"--coordinator=localhost:{port}", f"--num_processes={processes}"]
    return [[*common, f"--process_id={process}"] for process in range(processes)]


def start_cluster(
    workdir: pathlib.Path, *flags: str, processes: int = 2, devices: int = 4
) -> list[subprocess.Popen[str]]:
    """Starts the same command in several processes that train together, `devices` each."""
    return [start(workdir, *flags, *own, devices=devices) for own in cluster_flags(processes)]


def finish(*processes: subprocess.Popen[str], seconds: float = 900) -> list[tuple[int, str, str]]:
    """Waits for processes; of each the exit status, stdout and stderr.

    Raises:
        AssertionError: one did not end in time; none is left running.
    """
    try:
        outputs = [process.communicate(timeout=seconds) for process in processes]
        return [(p.returncode, *texts) for p, texts in zip(processes, outputs, strict=True)]
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"still running after {seconds} s: {error.stdout}") from None
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                process.communicate()


def succeed(*processes: subprocess.Popen[str]) -> list[str]:
    """Waits for processes, all of which must exit with 0; what each printed."""
    ends = finish(*processes)
    assert not any(code for code, _, _ in ends), ends
    return [out for _, out, _ in ends]


def wait_until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Waits for something that running processes do; fails where one ends before."""
    deadline = time.monotonic() + 900
    while not condition():
        assert all(process.poll() is None for process in processes), finish(*processes)
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def kill_when(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    """Kills processes, without a warning, as soon as a condition holds."""
    wait_until(condition, *processes)
    for process in processes:
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before"

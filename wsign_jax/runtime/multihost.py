"""Several processes as one run: how they find each other, who speaks, and how they end together.

JAX's own runtime connects the processes and moves their arrays; this module does the rest. Each process
has its own devices, and a mesh spans all of them.
"""

import contextlib
import dataclasses
import hashlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from wsign_jax.common.errors import WSignError, exit_on_user_error

_LEAVE_SECONDS = 5.0  # for which a failing process waits for the others to leave with it

_VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a process finds the others; JAX finds out what is None, as on a TPU pod or under SLURM."""

    coordinator: str | None  # HOST:PORT at which process 0 listens
    num_processes: int | None
    process_id: int | None
    patience: int  # seconds to wait for a process that does not answer


def parse(argv: Sequence[str]) -> tuple[Cluster | None, list[str]]:
    """Takes the flags of this module out of a command line.

    Returns:
        The cluster, or None if there is only this process, and the rest of the command line.

    Raises:
        WSignError: one of the flags that belong together is missing, or a flag is not a number or out
            of range.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    coordinator = flags.DEFINE_string("coordinator", None, "", flag_values=values)
    count = flags.DEFINE_integer("num_processes", None, "", lower_bound=1, flag_values=values)
    number = flags.DEFINE_integer("process_id", None, "", lower_bound=0, flag_values=values)
    detect = flags.DEFINE_bool("distributed", False, "", flag_values=values)
    # JAX stores it as milliseconds in 32 bits.
    patience = flags.DEFINE_integer("patience", 120, "", 1, 1_000_000, flag_values=values)
    given = {flag: name for flag, name in _VARIABLES.items() if os.environ.get(name)}
    from_environment = [f"--{flag}={os.environ[name]}" for flag, name in given.items()]
    try:
        rest = values([argv[0], *from_environment, *argv[1:]], known_only=True)
    except flags.Error as error:
        raise WSignError(f"in the command line: {error}") from None
    cluster = Cluster(coordinator.value, count.value, number.value, patience.value)
    absent = [flag for flag in _VARIABLES if values[flag].value is None]
    if not detect.value:
        if len(absent) == len(_VARIABLES):
            return None, rest
        if absent:
            raise WSignError(
                "several processes: missing "
                + " and ".join(f"--{flag} (or {_VARIABLES[flag]})" for flag in absent)
                + "; give all three, or --distributed to have JAX find the cluster"
            )
    _check(cluster)
    return cluster, rest


def _check(cluster: Cluster) -> None:
    host, _, port = (cluster.coordinator or "host:1").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise WSignError(f"--coordinator is {cluster.coordinator!r}; it must be HOST:PORT")
    number, count = cluster.process_id, cluster.num_processes
    if number is not None and count is not None and number >= count:
        raise WSignError(f"--process_id is {number}; it must be below --num_processes={count}")


@contextlib.contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """A context that joins the cluster, if there is one, for all that a command does.

    Only process 0 has a standard output. The output of the others is discarded, but not their errors.
    An error ends this process at once: JAX would first wait minutes for the others, which wait for it.
    """
    if cluster is None:
        yield
        return
    _connect(cluster)
    import jax  # noqa: PLC0415

    try:
        with contextlib.ExitStack() as stack:
            if jax.process_index() > 0:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            print(
                f"{jax.process_count()} processes, {jax.device_count()} devices; should a process be "
                f"lost, the others stop within {cluster.patience} s, and the same commands go on",
                flush=True,
            )
            with exit_on_user_error():
                yield
    except jax.errors.JaxRuntimeError as error:
        print(
            f"error: process {jax.process_index()} cannot go on ({str(error).splitlines()[0][:200]}); "
            "if another process was lost, the same commands go on from the last checkpoint",
            file=sys.stderr,
        )
        _leave(1)
    except SystemExit as stop:
        if stop.code:
            _leave(stop.code if isinstance(stop.code, int) else 1)
        raise
    except BaseException:
        traceback.print_exc()
        _leave(1)


def _connect(cluster: Cluster) -> None:
    """Connects to the other processes.

    Raises:
        WSignError: JAX finds no cluster, or cannot listen at the coordinator's address.
    """
    import jax  # noqa: PLC0415

    def give_up() -> None:
        what = (
            f"not all of the {cluster.num_processes} processes came"
            if cluster.process_id == 0
            else f"no coordinator answered at {cluster.coordinator}"
        )
        print(
            f"error: {what} within {cluster.patience} s; start one command for every --process_id, or "
            "wait longer with --patience=SECONDS",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    if cluster.coordinator and cluster.process_id == 0:
        port = cluster.coordinator.rpartition(":")[2]
        try:
            # JAX crashes if it cannot have the port.
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise WSignError(
                f"--coordinator: port {port}: {error.strerror}; name another"
            ) from None
    # Otherwise JAX would abort the process with a page of C++ addresses.
    watch = threading.Timer(cluster.patience, give_up)
    watch.daemon = True
    watch.start()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            initialization_timeout=cluster.patience + 60,
            heartbeat_timeout_seconds=cluster.patience,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WSignError(
            f"cannot join the other processes: {reason} Give --coordinator, --num_processes and "
            "--process_id"
        ) from None
    finally:
        watch.cancel()
    # JAX's preemption service has taken the signal, and nobody here asks that service.
    signal.signal(signal.SIGTERM, on_sigterm)


def _leave(status: int) -> None:
    """Ends this process, together with the others if they end as well, and soon in any case."""
    import jax  # noqa: PLC0415

    sys.stdout.flush()
    sys.stderr.flush()
    deadline = threading.Timer(_LEAVE_SECONDS, os._exit, [status])
    deadline.daemon = True
    deadline.start()
    with contextlib.suppress(Exception):
        jax.distributed.shutdown()
    os._exit(status)


def is_first() -> bool:
    """Whether this is the process that writes what only one process writes."""
    import jax  # noqa: PLC0415

    return jax.process_index() == 0


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """A context from which all processes go on, or none: an error in one stops all.

    Raises:
        WSignError: another process failed.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        failures = _of_all(failed)
    if any(failures):
        raise WSignError(f"process {failures.index(1)} stopped; its own error says why")


def any_of_all(value: bool) -> bool:
    """Whether the value is true in any process; waits for all of them."""
    return any(_of_all(value))


def check_same(value: str, what: str) -> None:
    """Raises a `WSignError` in all processes if this value is not the same in all of them."""
    digest = int.from_bytes(hashlib.sha256(value.encode()).digest()[:4]) >> 1
    if len(set(_of_all(digest))) > 1:
        raise WSignError(f"{what} differ between the processes; make them the same")


def _of_all(value: int) -> list[int]:
    """Returns a 32-bit number from every process; waits for all of them."""
    import jax  # noqa: PLC0415

    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils  # noqa: PLC0415

    return multihost_utils.process_allgather(np.int32(value)).tolist()

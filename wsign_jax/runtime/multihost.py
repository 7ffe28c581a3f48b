"""Several processes as one run: how they find each other, who speaks, and how they end together.

JAX's own runtime connects the processes and moves their arrays; this module does the rest. Each process
has its own devices, and a mesh spans all of them.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags

from wsign_jax.common.errors import WSignError, exit_on_user_error

_LEAVE_SECONDS = 5.0  # for which a failing process waits for the others to leave with it


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a process finds the others; JAX finds the fields that are None, as on a TPU pod."""

    coordinator: str | None  # HOST:PORT at which process 0 listens
    num_processes: int | None
    process_id: int | None
    patience: int  # seconds to wait for a process that does not answer


def parse_cluster(argv: Sequence[str]) -> tuple[Cluster | None, list[str]]:
    """Takes the flags of this module out of a command line.

    Returns:
        The cluster, or None if there is only this process, and the rest of the command line.

    Raises:
        WSignError: a flag is not a number, out of range, or not an address.
    """
    values, environment = flags.FlagValues(), os.environ.get
    values.set_gnu_getopt(True)
    try:
        for define, flag, default in (
            (flags.DEFINE_string, "coordinator", environment("JAX_COORDINATOR_ADDRESS")),
            (flags.DEFINE_integer, "num_processes", environment("JAX_NUM_PROCESSES")),
            (flags.DEFINE_integer, "process_id", environment("JAX_PROCESS_ID")),
        ):
            define(flag, default or None, "", flag_values=values)
        detect = flags.DEFINE_bool("distributed", False, "", flag_values=values)
        # JAX stores it as milliseconds in 32 bits.
        patience = flags.DEFINE_integer("patience", 120, "", 1, 1_000_000, flag_values=values)
        rest = values(argv, known_only=True)
    except flags.Error as error:
        raise WSignError(f"in the command line: {error}") from None
    given = values.coordinator, values.num_processes, values.process_id
    if not re.fullmatch(r".+:\d+", values.coordinator or "host:1"):
        raise WSignError(f"--coordinator is {values.coordinator!r}; it must be HOST:PORT")
    if not detect.value and given == (None, None, None):
        return None, rest
    return Cluster(*given, patience.value), rest


@contextlib.contextmanager
def join_cluster(cluster: Cluster | None) -> Iterator[None]:
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
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else 1
        if not status:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        _exit_in(_LEAVE_SECONDS, int(status))
        with contextlib.suppress(Exception):
            jax.distributed.shutdown()  # waits for the others, which may be about to fail as well
        os._exit(int(status))


def _connect(cluster: Cluster) -> None:
    """Connects to the other processes; raises a `WSignError` if JAX lacks something for it."""
    import jax  # noqa: PLC0415

    # Otherwise JAX would abort the process with a page of C++ addresses.
    watch = _exit_in(
        cluster.patience,
        2,
        f"error: the other processes did not come within {cluster.patience} s; start one command for "
        "every --process_id, all with the same --coordinator, or give --patience=SECONDS\n",
    )
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
        reason = str(error).splitlines()[0].rstrip(".")
        raise WSignError(
            f"cannot join the other processes: {reason}; give --coordinator, --num_processes and "
            "--process_id"
        ) from None
    finally:
        watch.cancel()
    # JAX's preemption service has taken the signal, and nobody here asks that service.
    signal.signal(signal.SIGTERM, on_sigterm)


def _exit_in(seconds: float, status: int, message: str = "") -> threading.Timer:
    """Ends this process after a time, even if JAX's C++ holds it."""

    def leave() -> None:
        print(message, end="", file=sys.stderr, flush=True)
        os._exit(status)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer


def is_first() -> bool:
    """Whether this is the first process, which alone writes files and prints."""
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

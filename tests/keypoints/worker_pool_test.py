import operator
import os
import pathlib
import subprocess
import sys
import time

from tests.helpers.processes import ROOT, wait_until
from wsign_jax.keypoints import worker_pool


def outcomes(function, tasks, count=2):
    return {
        o.task: (o.value, o.problem) for o in worker_pool.run_in_workers(function, tasks, count)
    }


def test_every_task_is_done_once():
    done = outcomes(operator.mul, [(n, n) for n in range(20)])
    assert done == {n: (n * n, None) for n in range(20)}
    assert outcomes(operator.mul, []) == {}


def test_an_error_is_its_tasks_alone(capfd):
    done = outcomes(operator.truediv, [(1, 1), (1, 0), (4, 2)], count=1)
    assert done == {
        0: (1.0, None),
        1: (None, "ZeroDivisionError: division by zero"),
        2: (2.0, None),
    }
    assert "Traceback" in capfd.readouterr().err  # for whoever has to find out why


def test_a_process_that_dies_costs_its_own_task_only(capfd):
    dies = "__import__('os').kill(__import__('os').getpid(), 9)"
    leaves = "[__import__('os').write(2, b'F0000 check failed\\n'), __import__('os')._exit(3)]"
    done = outcomes(eval, [("1",), (dies,), ("2",), (leaves,), ("3",), ("4",)])
    assert [done[n] for n in (0, 2, 4, 5)] == [(1, None), (2, None), (3, None), (4, None)]
    assert done[1] == (None, "its process ended by a signal: Killed")
    assert done[3] == (None, "its process ended with status 3 (F0000 check failed)")


def test_processes_run_at_the_same_time():
    processes = {
        value for value, _ in outcomes(eval, [("__import__('os').getpid()",)] * 8).values()
    }
    assert len(processes) == 2


def test_when_the_parent_is_killed_its_workers_die(tmp_path):
    pid = tmp_path / "pid"
    tell = f"open({str(pid)!r}, 'w').write(str(__import__('os').getpid()))"
    task = f"[{tell}, __import__('time').sleep(60)]"
    script = tmp_path / "script.py"  # which workers must not run again
    script.write_text(
        "from wsign_jax.keypoints.worker_pool import run_in_workers\n"
        f"list(run_in_workers(eval, [({task!r},)], 1))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], env=environment) as parent:
        wait_until(lambda: pid.exists() and pid.read_text(), parent)
        worker = pathlib.Path("/proc", pid.read_text())
        assert worker.exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while worker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_whoever_stops_early_leaves_no_process():
    running = worker_pool.run_in_workers(
        eval, [("__import__('os').getpid()",), ("__import__('time').sleep(60)",)], 1
    )
    first = next(running)
    running.close()
    assert not os.path.exists(f"/proc/{first.value}")

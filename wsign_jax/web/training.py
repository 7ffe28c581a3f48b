"""Trains on the page's recordings: runs the commands that the page shows, as child processes.

Each training has folders of its own, `data/NAME` and `runs/NAME`, where NAME is that of the recordings'
folder, with a number if it is taken. What the commands print is in `runs/NAME.log`.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
from typing import IO, Any, NamedTuple

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.train.checkpoint import workdir

IDLE, DONE, FAILED = "idle", "done", "failed"
STEPS = IMPORTING, TRAINING, TUNING, PREPARING = "importing", "training", "tuning", "preparing"
_ENDS = "it saves and ends; to stop it again ends it at once"
_MOST_READ = 2**20  # bytes of a log, from its end


class Plan(NamedTuple):
    """The commands of a training as a person types them, and the places where they write."""

    commands: tuple[tuple[str, ...], ...]  # import, train, tune, open the page
    data: pathlib.Path
    run: pathlib.Path
    log: pathlib.Path


def make_plan(takes: pathlib.Path, name: str, project: pathlib.Path = pathlib.Path()) -> Plan:
    """Plans a training.

    Args:
        takes: the folder of recordings.
        name: of the new folders.
        project: the project's folder as the commands name it.
    """
    data, run = pathlib.Path("data", name), pathlib.Path("runs", name)
    tools = project / "tools"
    flags = (
        f"--config={project / 'configs/asl.py'}",
        f"--config.data.dir={data}",
        f"--workdir={run}",
    )
    commands = (
        ("python", f"{tools}/prepare_corpus.py", "auto", f"--root={takes}", f"--out={data}"),
        ("python", "-m", "wsign_jax.main", *flags),
        (
            "python",
            f"{tools}/tune_decoder.py",
            f"--checkpoint={run}",
            "--decoder=greedy",
            "--lm=none",
        ),
        ("python", f"{tools}/web.py", f"--checkpoint={run}"),
    )
    return Plan(commands, data, run, run.with_name(f"{name}.log"))


def next_plan(takes: pathlib.Path, project: pathlib.Path = pathlib.Path()) -> Plan:
    """Plans a training that writes over nothing."""
    stem = takes.resolve().name
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    plans = (make_plan(takes, name, project) for name in names)
    return next(plan for plan in plans if not any(map(os.path.lexists, plan[1:])))


class Training:
    """Trains on a folder of recordings, one training at a time. Every thread may call it."""

    def __init__(
        self, takes: pathlib.Path, models: pathlib.Path, project: pathlib.Path = pathlib.Path()
    ):
        """Starts nothing yet.

        Args:
            takes: the folder of recordings.
            models: a folder for the page's models, `model-1` and so on.
            project: the project's folder, as the commands name it.
        """
        self.files: dict[str, pathlib.Path] = {}  # of all models, by their addresses in the page
        self.model = ""  # the address of the latest model's folder; '' before there is one
        self._takes, self._models, self._project = takes, models, project
        self._lock = threading.Lock()
        self._state, self._line, self._stopping = IDLE, "", False
        self._count = 0  # of trainings
        self._plan = next_plan(takes, project)  # of the training that is on, otherwise of the next
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts a training.

        Raises:
            WSignError: one is on already.
            OSError: its log cannot be written.
        """
        with self._lock:
            if self._state in STEPS:
                raise WSignError("a training is on; wait until it ends, or stop it")
            plan = next_plan(self._takes, self._project)
            files.make_folder(plan.log.parent)
            log = plan.log.open("xb")
            self._plan, self._state, self._line, self._stopping = plan, IMPORTING, "", False
            self._child, self._count = None, self._count + 1
            self._thread = threading.Thread(target=self._run, args=(plan, log))
            self._thread.start()

    def stop(self) -> None:
        """Asks the training to save and end; if it was asked before, ends it at once.

        Raises:
            WSignError: no training is on.
        """
        with self._lock:
            if self._state not in STEPS:
                raise WSignError("no training is on")
            number = signal.SIGKILL if self._stopping else signal.SIGTERM
            self._stopping = True
            if self._child is not None:
                self._child.send_signal(number)

    def close(self) -> None:
        """Ends the training that is on, and says how to go on with it; Ctrl-C ends it at once."""
        with self._lock:
            is_asked = self._stopping  # a person has stopped it, and it saves
        while self._thread is not None and self._thread.is_alive():
            try:
                with contextlib.suppress(WSignError):  # it may just have ended
                    if not is_asked:
                        self.stop()
                is_asked = False  # Ctrl-C asks again
                _say("the training saves and ends; Ctrl-C ends it at once")
                self._thread.join()
                _say(f"the training: {self._line}")
            except KeyboardInterrupt:
                continue

    def progress(self) -> dict[str, Any]:
        """Returns how far the training is, as the page's `train.js` describes it."""
        with self._lock:
            state, line, plan = self._state, self._line, self._plan
            stopping, model = self._stopping, self.model
        stage, step, of = "", 0, 0
        if state in STEPS:
            said = _whole_lines(plan.log)
            line = _ENDS if stopping else (said or [""])[-1]
            stage, step, of = _steps_done(said, _whole_lines(plan.run / workdir.METRICS))
        commands = [shlex.join(command) for command in plan.commands]
        where = {"state": state, "stage": stage, "step": step, "of": of, "line": line}
        return {**where, "commands": commands, "model": model}

    def _run(self, plan: Plan, log: IO[bytes]) -> None:
        """Runs the commands and keeps the model that they make, or why there is none."""
        folder = self._models / f"model-{self._count}"
        made: dict[str, pathlib.Path] = {}
        try:
            failure = self._run_commands(plan, folder, log)
            if not (failure or self._stopping):
                made = {f"{folder.name}/{path.name}": path for path in folder.iterdir()}
        except OSError as error:  # a full disk
            failure = f"{error.filename or plan.log}: {error.strerror}"
        following = next_plan(self._takes, self._project)
        with self._lock:
            self._plan = following
            if self._stopping:
                # Without a data set, nothing goes on.
                step = {TUNING: 2, PREPARING: 3}.get(self._state, 1)
                again = shlex.join(plan.commands[step])
                goes_on = f"; {plan.run} goes on with: {again}" if plan.data.exists() else ""
                self._state, self._line = IDLE, f"stopped{goes_on}"
            elif failure:
                self._state, self._line = FAILED, failure
            else:
                self.files |= made
                self._state, self.model = DONE, folder.name
                self._line = f"to open it again: {shlex.join(plan.commands[-1])}"

    def _run_commands(self, plan: Plan, folder: pathlib.Path, log: IO[bytes]) -> str:
        """Runs the commands, each if the one before has succeeded; returns why one failed, or ''."""
        steps, failure = (*plan.commands[:-1], _page_command(plan.run, folder)), ""
        with log:
            for state, command in zip(STEPS, steps, strict=True):
                log.write(f"$ {shlex.join(command)}\n".encode(errors="surrogateescape"))
                log.flush()
                failure = self._run_one(state, command, log)
                if failure or self._stopping:
                    break
        return failure

    def _run_one(self, state: str, command: tuple[str, ...], log: IO[bytes]) -> str:
        """Runs a command to its end; returns why it failed, or ''."""
        begin = log.tell()
        with self._lock:
            if self._stopping:
                return ""
            self._state = state
            try:
                self._child = subprocess.Popen(
                    [sys.executable, "-u", *command[1:]],  # lines and errors in their order
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the server, which then ends this in order
                )
            except OSError as error:
                return f"{command[1]} cannot be started ({error.strerror})"
        status = self._child.wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}; see {log.name}"
        return _failure(pathlib.Path(log.name), begin) if status else ""


def _page_command(run: pathlib.Path, folder: pathlib.Path) -> tuple[str, ...]:
    return "python", "-m", "wsign_jax.web.model_folder", str(run), str(folder)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(line, flush=True)


def _failure(log: pathlib.Path, begin: int) -> str:
    """Returns the error that the last command in a log has printed after the byte `begin`."""
    said = [line for line in log.read_bytes()[begin:].decode(errors="replace").splitlines() if line]
    for number, line in reversed(list(enumerate(said))):
        if line.startswith("error: "):
            return "; ".join(part.strip() for part in said[number:])[len("error: ") :]
    return f"{said[-1] if said else 'it said nothing'}; see {log}"


def _whole_lines(path: pathlib.Path) -> list[str]:
    """Returns the last whole lines of a file that is being written; [] if it is missing."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _MOST_READ, 0))
            content = file.read()
    except FileNotFoundError:
        return []
    return content[: content.rfind(b"\n") + 1].decode(errors="replace").splitlines()


def _steps_done(said: list[str], metrics: list[str]) -> tuple[str, int, int]:
    """Returns the stage that is on, how many of its steps are done, and how many it has.

    The run says at the beginning of each stage how many steps it has; metrics count all stages' steps.
    """
    stages = [
        match.groups() for line in said if (match := re.fullmatch(r"(\w+): (\d+) steps", line))
    ]
    if not stages:
        return "", 0, 0
    (stage, count), before = stages[-1], sum(int(count) for _, count in stages[:-1])
    step = int(json.loads(metrics[-1])["step"]) if metrics else 0
    return stage, min(max(step - before, 0), int(count)), int(count)

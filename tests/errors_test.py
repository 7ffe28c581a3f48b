"""How commands end."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

PROGRAM = """
import sys
from wsign_jax.errors import DivergedError, WSignError, exit_on_user_error

with exit_on_user_error():
    {}
"""


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("print('well')", 0, ""),
        ("raise WSignError('a.npy: is bad; mend it')", 2, "error: a.npy: is bad; mend it\n"),
        ("open('nowhere/file')", 2, "error: nowhere/file: No such file or directory\n"),
        ("raise DivergedError('the loss is NaN')", 1, "error: the loss is NaN\n"),
        (
            "import os, tempfile; os.chdir(at := tempfile.mkdtemp()); os.rmdir(at); os.getcwd()",
            2,
            "error: the current folder was deleted, cd to another: No such file or directory\n",
        ),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_status_and_one_line(what, status, said):
    command = [sys.executable, "-c", PROGRAM.format(what)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("streams", [{"stderr": subprocess.PIPE}, {"stderr": subprocess.STDOUT}])
def test_a_reader_that_is_gone_is_no_traceback(streams):
    endless = "while True: print('more')"
    command = [sys.executable, "-c", PROGRAM.format(endless)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **streams
    ) as process:
        assert process.stdout.readline() == "more\n"
        process.stdout.close()
        said = process.stderr.read() if process.stderr else ""
    assert process.returncode == 141
    assert said == ("ended: nobody reads its output any more\n" if process.stderr else "")

"""How commands end."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT

PROGRAM = """
import sys
from wsign_jax.common.errors import DivergedError, WSignError, exit_on_user_error

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


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_what_a_stream_cannot_encode_is_escaped(encoding):
    what = "print('gr\\u00fcn', 'caf\\udce9'); raise WSignError('caf\\udce9: \\u2028\\x1b[31m')"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what)],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    green = "gr\\xfcn" if encoding == "ascii" else "gr\u00fcn"
    assert done.stdout.decode() == f"{green} caf\\udce9\n"
    assert done.stderr.decode() == "error: caf\\udce9: \\u2028\\u001b[31m\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_goes_nowhere(closed):
    what = (
        "from wsign_jax.common.progress import Progress\n"
        "    with Progress('x', 0, 1) as bar: bar.advance('')\n"
        "    print('x', flush=True); sys.stdout.write('x'); sys.stderr.write('y')\n"
        "    raise WSignError('a.npy: is bad')"
    )
    command = shlex.join([sys.executable, "-c", PROGRAM.format(what)])
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == ("" if "2>" in closed else "yerror: a.npy: is bad\n")


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

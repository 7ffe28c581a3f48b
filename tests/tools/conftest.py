import pathlib
import runpy
import sys

import pytest

from wsign_jax import main

TOOLS = pathlib.Path(main.__file__).parents[1] / "tools"


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a tool with flags -> its exit status, and what it printed."""

    def run(tool, *flags):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, flags)])
        capsys.readouterr()
        status = 0
        try:
            runpy.run_path(str(TOOLS / tool), run_name="__main__")
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run

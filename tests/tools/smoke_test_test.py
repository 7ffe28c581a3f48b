"""Failing parts of tools/smoke_test.py; that all of them pass is seen in the notebook."""

import runpy
import sys

import pytest

from tests.helpers.processes import ROOT
from wsign_jax.train import initial_weights, run

PARTS = ["data", "model", "stage1", "stage2", "stage3", "save", "restore", "decode", "evaluate"]


def smoke(capsys, *flags):
    """Runs the tool in this process; its exit status, stdout's lines, stderr."""
    saved, sys.argv = sys.argv, ["smoke_test.py", *flags]
    status = 0
    try:
        runpy.run_path(str(ROOT / "tools" / "smoke_test.py"), run_name="__main__")
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = saved
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


@pytest.mark.parametrize(
    ("owner", "function", "part"),
    [(run, "prepare_run", "data"), (initial_weights, "fresh_params", "model")],
)
def test_the_part_that_fails_is_named(capsys, monkeypatch, owner, function, part):
    def broken(*arguments):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(owner, function, broken)
    status, lines, err = smoke(capsys)
    assert status == 1 and lines[-1] == f"FAILED   {part}: RuntimeError: out of"
    assert len(lines) == 1 + PARTS.index(part) and "Traceback" in err

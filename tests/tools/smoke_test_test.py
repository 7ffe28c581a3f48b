"""Failing parts of tools/smoke_test.py; that all of them pass is seen in the notebook."""

import pytest

from wsign_jax.train import initial_weights, run

PARTS = ["data", "model", "stage1", "stage2", "stage3", "save", "restore", "decode", "evaluate"]


@pytest.mark.parametrize(
    ("owner", "function", "part"),
    [(run, "prepare_run", "data"), (initial_weights, "fresh_params", "model")],
)
def test_the_part_that_fails_is_named(command, monkeypatch, owner, function, part):
    def broken(*arguments):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(owner, function, broken)
    status, printed = command("smoke_test.py")
    lines, traceback, _ = printed.partition("Traceback")
    assert status == 1 and traceback
    *before, last = lines.splitlines()
    assert last == f"FAILED   {part}: RuntimeError: out of" and len(before) == PARTS.index(part)

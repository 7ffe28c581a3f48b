"""The page's JavaScript keeps to the types that its comments name."""

import pathlib
import shutil
import subprocess

import pytest

TYPESCRIPT = "typescript@5.9.3"


def test_the_types_agree():
    pytest.importorskip("uvicorn", reason="the page needs the extra `web`")
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("npx is not installed")
    command = [npx, "--yes", "--package", TYPESCRIPT, "tsc", "--project", "tsconfig.json"]
    folder = pathlib.Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if "npm err" in done.stderr.lower():  # "npm ERR!" before version 10
        pytest.skip(f"npm does not give {TYPESCRIPT}: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr

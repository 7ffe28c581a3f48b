"""Helpers that the parts of the benchmark share: flags, a file of figures, the machine."""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import exit_on_user_error

Figures = dict[str, float]

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "torch")
_DEVICES = "import jax; d = jax.devices(); print(len(d), 'x', d[0].device_kind)"
_TORCH = "import torch; print(torch.__version__)"
_UNKNOWN = "unknown"
_FORGET_PEAK = "5"  # see proc_pid_clear_refs(5)


def new_file(text: str) -> pathlib.Path:
    """A flag's value: a file that is not there yet, so that none is overwritten."""
    if (path := pathlib.Path(text)).exists():
        raise argparse.ArgumentTypeError(f"{text} is there already; name another file")
    return path


def positive(text: str) -> int:
    """A flag's value: how many there are of something."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def existing(text: str) -> pathlib.Path:
    """A flag's value: a file or folder that is there."""
    if not (path := pathlib.Path(text)).exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return path


def program(text: str) -> str:
    """A flag's value: a program that can be run."""
    if shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"{text}: no such program")
    return text


def size(text: str) -> str:
    """A flag's value: the size of a model."""
    from wsign_jax.model.whisper_sign import SIZES  # noqa: PLC0415 (recognize.py times JAX's import)

    if text not in SIZES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(SIZES)}")
    return text


def sizes(text: str) -> list[str]:
    """A flag's value: some sizes, with commas between them."""
    return [size(name) for name in text.split(",")]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Makes a part's command line, for `parse`; `--json` is for `write`."""
    made = Parser(doc)
    made.add_argument("--json", type=new_file, metavar="FILE", help="to write the figures to")
    made.add_argument("--check", action="store_true", help="look at the flags only")
    return made


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the flags; ends the process if they are bad, or if they were only to be checked."""
    with exit_on_user_error():
        flags = parser.parse_args()
    if flags.check:
        parser.exit()
    del flags.check
    return flags


def add_counts(parser: argparse.ArgumentParser, **flags: tuple[int, str]) -> None:
    """Adds flags that count something, each with its default and what it counts."""
    for name, (value, help) in flags.items():
        parser.add_argument(
            f"--{name}", type=positive, default=value, metavar="N", help=f"{help} ({value})"
        )


def write(path: pathlib.Path | None, figures: Figures) -> None:
    """Writes a part's figures if `--json` names a file."""
    if path is not None:
        files.write_json(path, {name: float(value) for name, value in figures.items()})


def run(parser: argparse.ArgumentParser, measure: Callable[..., Figures]) -> None:
    """Runs a part: calls `measure` with the flags as arguments, and prints and writes the figures."""
    flags = vars(parse(parser))
    path = flags.pop("json")
    with exit_on_user_error():
        found = measure(**flags)
        for name, value in found.items():
            print(f"{name:36}{value:12.4g}")
        write(path, found)


def knows_memory() -> bool:
    """Whether `peak_memory` works here, as it does on Linux."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def forget_peak_memory() -> None:
    """Resets `peak_memory` to what the process holds now."""
    pathlib.Path("/proc/self/clear_refs").write_text(_FORGET_PEAK, encoding="utf-8")


def peak_memory() -> int:
    """The most bytes that this process held; `getrusage` would begin with what its parent held."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def machine() -> dict[str, Any]:
    """The machine that the figures are measured on, and how busy it was before."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "devices": _printed(sys.executable, _DEVICES),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions(torch_python: str | None = None) -> dict[str, str]:
    """The versions of Python and of the installed packages that decide speed.

    Args:
        torch_python: the Python that has PyTorch, if that is another one.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if torch_python is not None:
        found["torch"] = _printed(torch_python, _TORCH)
    return found


def _printed(python: str, program: str) -> str:
    """Returns what a program prints in a process of its own, which frees all devices when it ends."""
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    except OSError:  # no such Python, of which the part itself will complain
        return _UNKNOWN
    return done.stdout.strip() or _UNKNOWN


def _cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()

"""Traced programs, kept from process to process beside the compiled ones (see `compiled.py`).

JAX looks a compiled program up by what tracing gives, and to trace a base-size training step takes
Python 2 to 3 seconds, for which a person waits at every start. What it gave is read back in a fifth.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax
import jax
import numpy as np
import optax
from jax import export

_FOLDER = "traced"
# Of JAX's settings, those that change no program.
_IDLE_SETTING = re.compile("cache|log|dump|traceback|pprint|distributed|coordination")
# What differs from process to process where `repr` tells of the same.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SET = re.compile(r"\{([^{}:]*)\}")


class _Program(NamedTuple):
    """A traced program of leaves, and the tree that what it returns is to be put into."""

    exported: export.Exported
    tree: Any


class Traced:
    """`jax.jit`, whose `lower` reads what another process has traced, or keeps it for the next one.

    It does so on a single device and where JAX keeps compiled programs in a folder, and is looked up by
    all that decides what tracing gives: the code of this package, the versions of what it calls, JAX's
    settings, the arguments' shapes, and `closure`.
    """

    def __init__(self, function: Callable[..., Any], closure: Sequence[Any], **options: Any):
        """Of a function to compile.

        Args:
            function: of positional arguments, which are trees of arrays.
            closure: whatever else it computes with; told apart by `repr`.
            options: of `jax.jit`.
        """
        self._function, self._closure, self._options = function, closure, options
        self._jitted = jax.jit(function, **options)

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        return self._jitted(*arguments)

    def cache_size(self) -> int:
        """How many programs were compiled by calls."""
        return int(self._jitted._cache_size())  # type: ignore[attr-defined]

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """The program for arguments of these shapes, to be compiled.

        Args:
            arguments: of the function, as arrays or `jax.ShapeDtypeStruct`s.
        """
        folder = _folder()
        if folder is None:
            return self._jitted.lower(*arguments)
        path = folder / self._name(arguments)
        program = _read(path)
        if program is None:
            try:
                program = self._trace(arguments)
            except (ValueError, NotImplementedError):  # a callback, or what may change with JAX
                return self._jitted.lower(*arguments)
            _write(path, program)

        def call(*arguments: Any) -> Any:
            return jax.tree.unflatten(
                program.tree, program.exported.call(*jax.tree.leaves(arguments))
            )

        return jax.jit(call, **self._options).lower(*arguments)

    def _trace(self, arguments: Sequence[Any]) -> _Program:
        # Of leaves, since JAX can write no trees but those of a few kinds.
        leaves, given = jax.tree.flatten(arguments)
        returned: list[Any] = []

        def of_leaves(*leaves: Any) -> list[Any]:
            out, tree = jax.tree.flatten(self._function(*jax.tree.unflatten(given, leaves)))
            returned.append(tree)
            return out

        exported = export.export(jax.jit(of_leaves))(*leaves)
        return _Program(exported, returned[-1])

    def _name(self, arguments: Sequence[Any]) -> str:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = [
            (leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in leaves
        ]
        settings = {k: v for k, v in jax.config.values.items() if not _IDLE_SETTING.search(k)}
        about = (
            _code(),
            sys.version,
            *(module.__version__ for module in (jax, jax.lib, flax, optax, np)),
            jax.default_backend(),
            settings,
            self._closure,
            shapes,
            tree,
        )
        text = _SET.sub(
            lambda found: str(sorted(found[1].split(", "))), _ADDRESS.sub("", repr(about))
        )
        return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str:
    """A digest of this package."""
    digest = hashlib.sha256()
    root = pathlib.Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _folder() -> pathlib.Path | None:
    """Where to keep programs; None where nothing is to be kept."""
    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    wanted = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    if not wanted or cache is None or "://" in cache or jax.device_count() > 1:
        return None
    return pathlib.Path(cache) / _FOLDER


def _read(path: pathlib.Path) -> _Program | None:
    """None where there is no such file, or not as it was written."""
    try:
        written = path.read_bytes()
    except OSError:
        return None
    digest, content = written[:32], written[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    exported, tree = pickle.loads(content)
    return _Program(export.deserialize(bytearray(exported)), tree)


def _write(path: pathlib.Path, program: _Program) -> None:
    content = pickle.dumps((bytes(program.exported.serialize()), program.tree))
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
        temporary.replace(path)
    except OSError:  # a full disk, or one not to be written: the next process has to trace again
        with contextlib.suppress(OSError):
            temporary.unlink()

"""Traced programs, kept from process to process beside the compiled ones (see `compiled.py`).

JAX looks a compiled program up by what tracing gives, and to trace a base-size training step takes
Python 2 to 3 seconds, for which a person waits at every start. What it gave is read back in a fifth.
"""

import contextlib
import functools
import hashlib
import pathlib
import pickle
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import numpy as np
import optax
from jax import export

from wsign_jax import disk

_FOLDER = "traced"
# Of JAX's settings, those that change no program.
_IDLE_SETTING = re.compile("cache|_log|dump|traceback|pprint|distributed")
# What differs from process to process where `repr` tells of the same; then what `repr` does not tell.
# (Of initialisers, which older layers of Flax hold on to, `init` is all there is to know.)
_INITIALIZER = re.compile(r"<function \w+\.<locals>\.init at 0x[0-9a-f]+>")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SET = re.compile(r"\{([^{}:]*)\}")
_UNTOLD = re.compile(r"\.\.\.|<locals>|<lambda>")
# Code that changed after that may not be what this process runs.
_IMPORTED = time.time() - 10


class Traced:
    """`jax.jit`, whose `lower` reads what another process has traced, or keeps it for the next one.

    It does so on a single device and where JAX keeps compiled programs in a folder, whose files are
    trusted like those. A program is looked up by all that decides what tracing gives: the code of this
    package, the versions of what it calls, JAX's settings, the function's name, the arguments' shapes,
    and `closure`. Where one of them cannot be told, nothing is kept.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        closure: Sequence[Any],
        *,
        donate_argnums: Sequence[int] = (),
        out_shardings: Any = None,
        compiler_options: dict[str, Any] | None = None,
    ):
        """Of a function to compile.

        Args:
            function: of positional arguments, which are trees of arrays.
            closure: whatever else it computes with; told apart by `repr`.
            donate_argnums: see `jax.jit`, as for the others.
            out_shardings: where results go.
            compiler_options: of XLA.
        """
        self._function, self._closure = function, closure
        self._jit = functools.partial(
            jax.jit,
            donate_argnums=donate_argnums,
            out_shardings=out_shardings,
            compiler_options=compiler_options,
        )
        self._jitted = self._jit(function)

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
        name = None if folder is None else self._name(arguments)
        if folder is None or name is None:
            return self._jitted.lower(*arguments)
        path = folder / name
        program = _read(path)
        if program is None:
            content = self._trace(arguments)
            if content is None:
                return self._jitted.lower(*arguments)
            with contextlib.suppress(OSError):  # a full disk: the next process has to trace again
                disk.write(path, hashlib.sha256(content).digest() + content)
            program = _load(content)
        exported, tree = program

        @functools.wraps(self._function)
        def call(*arguments: Any) -> Any:
            return jax.tree.unflatten(tree, exported.call(*jax.tree.leaves(arguments)))

        return self._jit(call).lower(*arguments)

    def _trace(self, arguments: Sequence[Any]) -> bytes | None:
        """For `_load`; None of what JAX cannot write."""
        # Of leaves, since JAX writes trees of a few kinds only.
        leaves, given = jax.tree.flatten(arguments)
        trees: list[Any] = []

        def of_leaves(*leaves: Any) -> list[Any]:
            out, tree = jax.tree.flatten(self._function(*jax.tree.unflatten(given, leaves)))
            trees.append(tree)
            return out

        jitted = jax.jit(of_leaves)
        jitted.trace(*leaves)  # or raises what the function does
        try:
            return pickle.dumps((bytes(export.export(jitted)(*leaves).serialize()), trees[-1]))
        except (ValueError, NotImplementedError):
            return None  # a callback, or what JAX does not promise to know later
        except (pickle.PicklingError, AttributeError, TypeError):
            return None  # a tree of a class that has no name

    def _name(self, arguments: Sequence[Any]) -> str | None:
        """Of the program's file; None where `repr` may tell the same of what differs."""
        code, closure = _code(), _INITIALIZER.sub("init", repr(self._closure))
        if code is None or _UNTOLD.search(closure):
            return None
        leaves, tree = jax.tree.flatten(arguments)
        # As attributes they have the values that hold here, within a `with` of JAX's too.
        settings = {
            name: getattr(jax.config, name, value)
            for name, value in jax.config.values.items()
            if not _IDLE_SETTING.search(name)
        }
        about = (
            code,
            sys.version,
            *(module.__version__ for module in (jax, jax.lib, flax, optax, np)),
            jax.default_backend(),
            settings,
            (self._function.__module__, self._function.__qualname__),
            [(leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in leaves],
            tree,
        )
        text = _ADDRESS.sub("", repr(about) + closure)
        text = _SET.sub(lambda found: str(sorted(found[1].split(", "))), text)
        return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str | None:
    """A digest of this package; None where it is being worked on, or cannot be read."""
    digest = hashlib.sha256()
    root = pathlib.Path(__file__).parent
    try:
        for path in sorted(root.rglob("*.py")):
            if path.stat().st_mtime > _IMPORTED:
                return None
            digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    except OSError:
        return None
    return digest.hexdigest()


def _folder() -> pathlib.Path | None:
    """Where to keep programs; None where nothing is to be kept."""
    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    wanted = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    if not wanted or not cache or "://" in cache or jax.device_count() > 1:
        return None
    return pathlib.Path(cache) / _FOLDER


def _load(content: bytes) -> tuple[export.Exported, Any]:
    """A program of leaves, and the tree that what it returns is to be put into."""
    exported, tree = pickle.loads(content)
    return export.deserialize(bytearray(exported)), tree


def _read(path: pathlib.Path) -> tuple[export.Exported, Any] | None:
    """None where there is no such file, or not as it was written."""
    try:
        written = path.read_bytes()
        digest, content = written[:32], written[32:]
        return _load(content) if hashlib.sha256(content).digest() == digest else None
    except Exception:  # whatever the content of another file may raise: it is traced again
        return None

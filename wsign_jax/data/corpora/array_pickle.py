"""Reads pickles of arrays and containers, and calls nothing that they name.

A pickle is a program: it names functions and has them called. Here the few that make up a NumPy array
are stand-ins, so that not even NumPy sees what a hostile pickle says of itself.
"""

import functools
import math
import pathlib
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data import validate


def load_arrays(path: pathlib.Path) -> Any:
    """Reads a pickle of dicts, lists, tuples, text, numbers, and arrays of numbers, for `array_in`.

    Raises:
        WSignError: the file is damaged, or holds or names anything else.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except OSError:
        raise
    except Exception as error:  # damage can raise almost anything
        raise WSignError(
            f"{path}: {validate.unreadable_reason(error)}; is it a pickle of arrays?"
        ) from None


def array_in(value: Any) -> np.ndarray | None:
    """Returns the array (read-only) that a value of a pickle is; None if it is something else."""
    return getattr(value, "values", None) if isinstance(value, _Array) else None


class _StandIn:
    """Stands for something that a pickle names; has no state unless its class says so."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state where there is none")


class _DType(_StandIn):
    """Stands for numpy.dtype, called with a name like 'f8'."""

    def __init__(self, name: str, *_: Any):
        self.dtype = np.dtype(name if isinstance(name, str) else "O")
        if self.dtype.kind not in "fiub":
            raise pickle.UnpicklingError(f"an array of {shown(name)}, not of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(_StandIn):
    """Stands for an array that is named first, and filled later."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.values = _array(content, dtype, shape, "F" if fortran else "C")


class _Buffer(_Array):
    """Stands for an array that is made at once."""

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any):
        self.values = _array(content, dtype, shape, order)


class _Scalar(_Buffer):
    """Stands for a single number of NumPy's."""

    def __init__(self, dtype: Any, content: Any):
        super().__init__(content, dtype, (1,), "C")


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _DType) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("an array of something else than numbers")
    values = np.frombuffer(content, dtype.dtype)
    is_shape = isinstance(shape, tuple) and all(type(size) is int for size in shape)
    if not is_shape or math.prod(shape) != len(values):
        raise pickle.UnpicklingError(f"an array of {len(values)} numbers is not {shown(shape)}")
    return values.reshape(shape, order="F" if order == "F" else "C")


# By the last part of the module's name: NumPy 2 has another path to it than NumPy 1.
_ALLOWED = {
    "numpy.dtype": _DType,
    "numpy.ndarray": _StandIn,
    "multiarray._reconstruct": _Array,
    "multiarray.scalar": _Scalar,
    "numeric._frombuffer": _Buffer,
}


def _check_keys(keys: list[Any]) -> None:
    if any(isinstance(key, tuple) for key in keys):
        raise pickle.UnpicklingError("a tuple is a key")


# In Python, because the one in C takes as much memory as a hostile pickle tells it to.
class _Unpickler(pickle._Unpickler):
    """Knows nothing but `_ALLOWED`, and bytes, which protocol 2 has as text."""

    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        # The same text gives the same bytes, so that a file cannot give more of them than it has.
        self._encode = functools.cache(lambda text, _: text.encode("latin1"))

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Returns the stand-in for a name; raises `UnpicklingError` for any other."""
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        found = _ALLOWED.get(f"{module.rpartition('.')[2]}.{name}")
        if found is None or module.partition(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"it names {shown(f'{module}.{name}')}, which is no array")
        return found

    _usual: ClassVar[dict[int, Any]] = pickle._Unpickler.dispatch
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(_usual)
    # Hashing tuples in tuples can take forever or end Python: only text and numbers are keys, and
    # nothing else is hashed.
    for _opcode in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[_opcode[0]]

    def _one_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        self._usual[pickle.SETITEM[0]](self)

    def _items(self) -> None:
        _check_keys(self.stack[::2])
        self._usual[pickle.SETITEMS[0]](self)

    def _dict(self) -> None:
        _check_keys(self.stack[::2])
        self._usual[pickle.DICT[0]](self)

    def _bytearray(self) -> None:
        # Python's own makes as many zeros as the file says.
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    dispatch[pickle.SETITEM[0]] = _one_item
    dispatch[pickle.SETITEMS[0]] = _items
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray

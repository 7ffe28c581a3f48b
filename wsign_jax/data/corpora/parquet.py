"""Reads columns of parquet files that others wrote, with pyarrow, which is an extra."""

import pathlib
from collections.abc import Collection
from types import ModuleType
from typing import Any

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate

_MOST_ROWS = 20_000_000  # far above Kaggle's files; a small file can say that it has more


def load_library() -> ModuleType:
    """Loads pyarrow's module for parquet; raises a `WSignError` if it is not installed."""
    try:
        import pyarrow.parquet  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; parquet files need pip install -e ".[parquet]"'
        ) from None
    return pyarrow.parquet


def read_columns(path: pathlib.Path, columns: Collection[str]) -> dict[str, np.ndarray]:
    """Reads columns as arrays; a number that is not there is NaN.

    Args:
        path: the file.
        columns: their names; all must be in the file, which may have more.

    Raises:
        WSignError: pyarrow is not installed, or the file is missing, damaged, or lacks a column.
    """
    library = load_library()
    try:
        with library.ParquetFile(path) as file:
            lacking = [name for name in columns if name not in file.schema_arrow.names]
            if not lacking and file.metadata.num_rows <= _MOST_ROWS:
                return {
                    name: _array(column)
                    for name, column in zip(
                        columns,
                        file.read(columns=list(columns)).select(columns).columns,
                        strict=True,
                    )
                }
            rows = file.metadata.num_rows
    except FileNotFoundError:
        raise WSignError(f"{path}: no such file") from None
    except Exception as error:  # damage can raise almost anything
        raise WSignError(f"{path}: {validate.unreadable(error)}; download it again") from None
    if lacking:
        raise WSignError(f"{path}: no column {lacking[0]!r} in it; is it this corpus's file?")
    raise WSignError(f"{path}: {rows} rows, over {_MOST_ROWS}; is it this corpus's file?")


def _array(column: Any) -> np.ndarray:
    array = np.asarray(column.to_numpy())
    if array.dtype.kind not in "fiuOU":
        raise ValueError(f"a column of {array.dtype}")
    return array


def numbers(columns: dict[str, np.ndarray], name: str, path: pathlib.Path) -> np.ndarray:
    """Returns a column of numbers as float64.

    Raises:
        WSignError: it holds something else.
    """
    if columns[name].dtype.kind not in "fiu":
        raise WSignError(f"{path}: column {name!r} holds {columns[name].dtype}, not numbers")
    return columns[name].astype(np.float64)

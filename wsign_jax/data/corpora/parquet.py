"""Reads columns of parquet files that others wrote, with pyarrow, which is an extra."""

import pathlib
from collections.abc import Collection
from types import ModuleType
from typing import Any

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.common.tables import Row
from wsign_jax.data import validate

_MOST_ROWS = 2_000_000  # far above Kaggle's files; a small file can say that it has more


def load_library() -> ModuleType:
    """Loads pyarrow's module for parquet; raises a `WSignError` if it is not installed."""
    try:
        import pyarrow.parquet  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise WSignError(
            f'{error.name} is not installed; parquet files need pip install -e ".[parquet]"'
        ) from None
    return pyarrow.parquet


def read_tables(
    root: pathlib.Path, names: Collection[str], columns: Collection[str]
) -> tuple[list[Row], list[str], list[str]]:
    """Reads a corpus's tables, of which some are enough, and so are some of the files that they name.

    Args:
        root: the folder of the tables.
        names: of the tables.
        columns: of the tables; `path` names a file below `root`.

    Returns:
        The rows whose file is there; a line for every broken row; and what to say of the others.

    Raises:
        WSignError: pyarrow is not installed; there is no table, or one of another form; or no file.
    """
    rows: list[Row] = []
    problems: list[str] = []
    named = [name for name in names if (root / name).is_file()]
    for name in named or names:
        more, broken = tables.read_table(root / name, columns)
        rows += more
        problems += broken
    is_there = {path: (root / path).is_file() for path in {row.fields["path"] for row in rows}}
    there = [row for row in rows if is_there[row.fields["path"]]]
    if not there:
        raise WSignError(
            f"{root}: no file that {named[0]} names; name another folder with --root=DIR"
        )
    load_library()  # said once, before anything is read
    gone = len(rows) - len(there)
    return there, problems, [f"left out {gone:,} rows whose file is not there"] if gone else []


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
        raise WSignError(
            f"{path}: {validate.unreadable_reason(error)}; download it again"
        ) from None
    if lacking:
        raise WSignError(f"{path}: no column {lacking[0]!r} in it; is it this corpus's file?")
    raise WSignError(f"{path}: {rows} rows, over {_MOST_ROWS}; is it this corpus's file?")


def _array(column: Any) -> np.ndarray:
    array = np.asarray(column.to_numpy())
    if array.dtype.kind not in "fiuOU":
        raise ValueError(f"a column of {array.dtype}")
    return array


def number_column(columns: dict[str, np.ndarray], name: str, path: pathlib.Path) -> np.ndarray:
    """Returns a column of numbers as float64.

    Raises:
        WSignError: it holds something else.
    """
    if columns[name].dtype.kind not in "fiu":
        raise WSignError(f"{path}: column {name!r} holds {columns[name].dtype}, not numbers")
    return columns[name].astype(np.float64)

"""Reads tables in text files: a header, one row per line, and problems that name file and line."""

import csv
import pathlib
from collections.abc import Collection
from typing import NamedTuple

from wsign_jax.common.errors import WSignError


class Row(NamedTuple):
    """One line of a table."""

    where: str  # 'FILE:LINE', for messages
    fields: dict[str, str]  # by the header's names


class _Quoted(csv.excel):
    strict = True


class _Plain(csv.excel):
    quoting = csv.QUOTE_NONE
    strict = True


def read_text(path: pathlib.Path) -> str:
    """Reads a UTF-8 text file, without the mark that some editors put at its start.

    Raises:
        WSignError: the file is missing, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise WSignError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise WSignError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None


def read_table(
    path: pathlib.Path, columns: Collection[str], delimiter: str = ","
) -> tuple[list[Row], list[str]]:
    """Reads a table; every line is read by itself, so that one broken line spoils no other.

    Args:
        path: the file. If the delimiter is a comma, fields may be quoted; otherwise quotes are text.
        columns: names that the header must have; it may have more.
        delimiter: the character between fields.

    Returns:
        The good rows, and one message for every broken line.

    Raises:
        WSignError: the file is missing, is not UTF-8, or its header lacks a column.
    """
    header: list[str] = []
    rows: list[Row] = []
    problems: list[str] = []
    dialect = _Quoted if delimiter == "," else _Plain
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            reader = csv.reader([line.rstrip("\r")], dialect, delimiter=delimiter)
            fields = [field.strip() for field in next(reader)]
        except csv.Error as error:
            if not header:
                raise WSignError(
                    f"{where}: the header is broken ({error}); it must have {', '.join(columns)}"
                ) from None
            problems.append(f"{where}: broken line ({error})")
            continue
        if not header:
            header = fields
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise WSignError(
                    f"{where}: the header is {line.strip()[:200]!r}; it must have {', '.join(lacking)}, "
                    f"separated by {delimiter!r}"
                )
            if twice := [name for name in columns if header.count(name) > 1]:
                raise WSignError(f"{where}: the header has {twice[0]} twice; keep one")
        elif len(fields) != len(header):
            problems.append(f"{where}: {len(fields)} fields, but the header has {len(header)}")
        else:
            rows.append(Row(where, dict(zip(header, fields, strict=True))))
    if not header:
        raise WSignError(f"{path}: empty; its header must have {', '.join(columns)}")
    return rows, problems

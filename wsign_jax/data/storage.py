"""Reads the arrays of a split's examples: each in its own file, or packed in shards.

A shard is an ArrayRecord file, `examples-<first>-<last>-of-<all>.array_record`. Its numbers count the
split's examples from 1, in the order of their ids. Each example has three records: its id in UTF-8, its
labels, and its features. Labels and features are stored as in a .npy file.
"""

import io
import itertools
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate

Kind = Literal["features", "labels"]


class Examples(Protocol):
    """The arrays of one split, good or bad; several threads may read them, in any order."""

    @property
    def lost(self) -> Sequence[str]:
        """The problem of each example whose id is missing, unreadable or not allowed."""

    def ids(self, kind: Kind) -> set[str]:
        """The ids of the examples that have an array of this kind."""

    def place(self, id: str, kind: Kind) -> str:
        """The name of an array for messages."""

    def read(self, id: str, kind: Kind) -> np.ndarray:
        """Reads the array; raises a `WSignError` if it is missing or damaged."""


def find_examples(folder: pathlib.Path) -> Examples:
    """Finds the examples of the split in a folder; an empty folder gives `FileExamples`.

    Raises:
        WSignError: it has both files and shards, or shards that do not belong together.
    """
    files, shards = FileExamples(folder), _shards(folder)
    if not shards:
        return files
    if files.ids("features") or files.ids("labels"):
        raise WSignError(
            f"{folder}: has both features/*.npy or labels/*.npy and {shards[0].path.name}; remove the "
            "folders features and labels, or the *.array_record files"
        )
    return PackedExamples(folder, shards)


def check_example(examples: Examples, id: str, rules: validate.Rules) -> tuple[int, np.ndarray]:
    """Reads an example, and returns its number of frames and its labels (U,) int32.

    Raises:
        WSignError: one of its arrays is bad; the message says which and why.
    """
    features, place = examples.read(id, "features"), examples.place(id, "features")
    validate.check_features(features, place)
    validate.check_hands(features, place)
    validate.check_length(features, rules, place)
    labels = examples.read(id, "labels")
    validate.check_labels(labels, len(features), rules, examples.place(id, "labels"))
    return len(features), labels.astype(np.int32)


class FileExamples:
    """A file for each array: `<folder>/features/<id>.npy` and `<folder>/labels/<id>.npy`."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._ids: dict[Kind, set[str]] = {"features": set(), "labels": set()}
        problems: dict[str, str] = {}  # by id
        for kind, ids in self._ids.items():
            for path in (folder / kind).glob("[!.]*.npy"):
                try:
                    ids.add(files.check_id(path.stem, f"{path.parent}: the id"))
                except WSignError as error:
                    problems.setdefault(path.stem, str(error))
        self.lost = list(problems.values())

    def ids(self, kind: Kind) -> set[str]:
        """The ids of the files of this kind."""
        return self._ids[kind]

    def place(self, id: str, kind: Kind) -> str:
        """The file's path."""
        return str(self._path(id, kind))

    def read(self, id: str, kind: Kind) -> np.ndarray:
        """Reads the file."""
        path = self._path(id, kind)
        if kind == "features" and not path.exists():
            raise WSignError(f"{path}: missing, but {path.name} has labels")
        return validate.load_npy(path)

    def _path(self, id: str, kind: Kind) -> pathlib.Path:
        return self._folder / kind / f"{id}.npy"


# ------------------------------------------------------------------------------------------ packed

_NAME = re.compile(r"examples-(\d+)-(\d+)-of-(\d+)\.array_record")
_MOST = 10**7  # examples per split: each missing one takes a line in memory
_RECORDS: tuple[Kind | Literal["id"], ...] = ("id", "labels", "features")  # of each example


class _Shard(NamedTuple):
    """The contents of a shard's name."""

    first: int
    last: int
    total: int  # the split's examples
    path: pathlib.Path

    @property
    def size(self) -> int:
        return self.last + 1 - self.first


class _Place(NamedTuple):
    """The place of an example."""

    path: pathlib.Path
    records: Any  # an ArrayRecordDataSource, which opens its file at the first read
    row: int


class PackedExamples:
    """Examples in shards."""

    def __init__(self, folder: pathlib.Path, shards: Sequence[_Shard]):
        """Reads the ids; raises a `WSignError` if two examples have the same."""
        self.lost: list[str] = []
        self._folder = folder
        self._places: dict[str, _Place] = {}
        following = 1
        for shard in shards:
            self._miss(following, shard.first)
            self._index(shard)
            following = shard.last + 1
        self._miss(following, shards[0].total + 1)

    def _miss(self, begin: int, end: int) -> None:
        """Notes that no shard has the examples from `begin` to before `end`."""
        problem = (
            f"{self._folder}: the shard of examples {begin} to {end - 1} is missing; restore it, or "
            "pack the data set again"
        )
        self.lost += (end - begin) * [problem]

    def _index(self, shard: _Shard) -> None:
        try:
            records = _open(shard)
        except WSignError as error:
            self.lost += shard.size * [str(error)]
            return
        for row in range(shard.size):
            try:
                id = files.check_id(records[row * len(_RECORDS)].decode(), "the id")
            except WSignError as error:
                self.lost.append(f"{shard.path}: example {row + 1} of it: {error}")
                continue
            except Exception as error:
                self.lost.append(
                    f"{shard.path}: example {row + 1} of it: {validate.unreadable_reason(error)}"
                )
                continue
            if id in self._places:
                other = self._places[id].path.name
                raise WSignError(f"{shard.path}: {id!r} is in {other} too; pack the data set again")
            self._places[id] = _Place(shard.path, records, row)

    def ids(self, kind: Kind) -> set[str]:
        """The ids of all examples that are not lost: each has both kinds."""
        return set(self._places)

    def place(self, id: str, kind: Kind) -> str:
        """The shard, the id and the kind."""
        return f"{self._places[id].path}: {id}: {kind}"

    def read(self, id: str, kind: Kind) -> np.ndarray:
        """Reads a record."""
        _, records, row = self._places[id]
        try:
            record = records[row * len(_RECORDS) + _RECORDS.index(kind)]
            return validate.read_npy(record)
        except Exception as error:  # a damaged file can raise almost anything
            raise WSignError(
                f"{self.place(id, kind)}: {validate.unreadable_reason(error)}"
            ) from None


def is_shard(name: str) -> bool:
    """Whether a file's name is a shard's."""
    return _NAME.fullmatch(name) is not None


def _shards(folder: pathlib.Path) -> list[_Shard]:
    """Finds the shards in a folder, by their names and in their order.

    Raises:
        WSignError: a name is not a shard's, or the shards cannot belong to one data set.
    """
    matches = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("*.array_record")]
    shards = sorted(
        _Shard(int(match[1]), int(match[2]), int(match[3]), path)
        for path, match in matches
        if match is not None
    )
    for shard in shards:
        if not 1 <= shard.first <= shard.last <= shard.total <= _MOST:
            raise WSignError(
                f"{shard.path}: not examples FIRST to LAST of up to {_MOST}, by its name; give it the "
                "name that it was packed under, or pack the data set again"
            )
    for before, after in itertools.pairwise(shards):
        if after.first <= before.last or after.total != before.total:
            raise WSignError(
                f"{folder}: {before.path.name} and {after.path.name} are of two packings; remove the "
                "shards of one of them"
            )
    return shards


def _open(shard: _Shard) -> Any:
    """Opens the records of a shard; raises a `WSignError` if it is damaged."""
    # Imported here: it is not needed for files, and not available on Windows.
    from array_record.python.array_record_data_source import ArrayRecordDataSource  # noqa: PLC0415

    wanted = shard.size * len(_RECORDS)
    try:
        records = ArrayRecordDataSource(str(shard.path))
        if len(records) != wanted:
            raise ValueError(f"cut off or damaged: {len(records)} of {wanted} records")
        return records
    except Exception as error:
        problem = validate.unreadable_reason(error)
        raise WSignError(
            f"{shard.path}: {problem}; restore it, or pack the data set again"
        ) from None


def write_shards(
    folder: pathlib.Path,
    examples: Iterable[tuple[str, np.ndarray, np.ndarray]],
    count: int,
    examples_per_shard: int,
) -> None:
    """Packs a split of `count` examples: ids, (U,) labels and (T, 42, 7) features, sorted by id.

    Raises:
        WSignError: a shard cannot be written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter  # noqa: PLC0415

    remaining = iter(examples)
    for first in range(1, count + 1, examples_per_shard):
        last = min(first + examples_per_shard - 1, count)
        path = folder / f"examples-{first:05}-{last:05}-of-{count:05}.array_record"
        try:
            # Groups of one record, so that reading one does not decode its neighbors.
            writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
            for _ in range(first, last + 1):
                id, labels, features = next(remaining)
                writer.write(id.encode())
                writer.write(npy_bytes(labels))
                writer.write(npy_bytes(features))
            writer.close()
        except RuntimeError as error:  # a full disk raises this, too
            raise WSignError(f"{path}: cannot be written ({error})") from None


def npy_bytes(array: np.ndarray) -> bytes:
    """The bytes of an array's .npy file."""
    memory = io.BytesIO()
    np.save(memory, array, allow_pickle=False)
    return memory.getvalue()

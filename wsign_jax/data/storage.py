"""Where the arrays of a split's examples are: each in a file of its own, or packed in shards.

A shard is an ArrayRecord file, `examples-<first>-<last>-of-<all>.array_record`. Its numbers count the
split's examples from 1, in the order of their ids. Each example has three records: its id in UTF-8, its
labels, and its features, both of these as a .npy file holds them.
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
    """The arrays of one split, good or bad, to be read in any order and by several threads."""

    @property
    def lost(self) -> Sequence[str]:
        """What is wrong with each example whose id cannot be told, or is none."""

    def ids(self, kind: Kind) -> set[str]:
        """Those of which there is something of a kind."""

    def place(self, id: str, kind: Kind) -> str:
        """What to call an array in messages."""

    def read(self, id: str, kind: Kind) -> np.ndarray | str:
        """The array, or what is wrong with it and where."""


def find(folder: pathlib.Path) -> Examples:
    """The examples of the split in a folder; of files, if there are none at all.

    Raises:
        WSignError: it has both files and shards, or shards that do not belong together.
    """
    files, shards = Files(folder), _shards(folder)
    if not shards:
        return files
    if files.ids("features") or files.ids("labels"):
        raise WSignError(
            f"{folder}: has both features/*.npy or labels/*.npy and {shards[0].path.name}; remove the "
            "folders features and labels, or the *.array_record files"
        )
    return Packed(folder, shards)


def check(examples: Examples, id: str, rules: validate.Rules) -> tuple[int, np.ndarray] | str:
    """(frames, labels) of a good example, or what is wrong with which of its arrays."""
    features = examples.read(id, "features")
    if isinstance(features, str):
        return features
    problem = (
        validate.feature_problem(features)
        or validate.hand_problem(features)
        or validate.length_problem(features, rules)
    )
    if problem:
        return f"{examples.place(id, 'features')}: {problem}"
    labels = examples.read(id, "labels")
    if isinstance(labels, str):
        return labels
    problem = validate.label_problem(labels, len(features), rules)
    if problem:
        return f"{examples.place(id, 'labels')}: {problem}"
    return len(features), labels.astype(np.int32)


class Files:
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
        """Of the files there are."""
        return self._ids[kind]

    def place(self, id: str, kind: Kind) -> str:
        """The file."""
        return str(self._path(id, kind))

    def read(self, id: str, kind: Kind) -> np.ndarray | str:
        """Reads the file."""
        path = self._path(id, kind)
        array = validate.load(path)
        if isinstance(array, str) and kind == "features" and not path.exists():
            return f"{path}: missing, but {path.name} has labels"
        return array

    def _path(self, id: str, kind: Kind) -> pathlib.Path:
        return self._folder / kind / f"{id}.npy"


# ------------------------------------------------------------------------------------------ packed

_NAME = re.compile(r"examples-(\d+)-(\d+)-of-(\d+)\.array_record")
_MOST = 10**7  # examples of a split: each that is missing takes a line in memory
_RECORDS: tuple[Kind | Literal["id"], ...] = ("id", "labels", "features")  # of an example


class _Shard(NamedTuple):
    """What a shard's name says."""

    first: int
    last: int
    total: int  # of the split
    path: pathlib.Path

    @property
    def size(self) -> int:
        return self.last + 1 - self.first


class _Place(NamedTuple):
    """Where an example is."""

    path: pathlib.Path
    records: Any  # an ArrayRecordDataSource, which opens its file when it is first read from
    row: int


class Packed:
    """Examples in shards."""

    def __init__(self, folder: pathlib.Path, shards: Sequence[_Shard]):
        """Reads the ids.

        Args:
            folder: of the split.
            shards: in their order.

        Raises:
            WSignError: an id is there twice.
        """
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
        records = _open(shard)
        if isinstance(records, str):
            self.lost += shard.size * [records]
            return
        for row in range(shard.size):
            try:
                id = files.check_id(records[row * len(_RECORDS)].decode(), "the id")
            except WSignError as error:
                self.lost.append(f"{shard.path}: example {row + 1} of it: {error}")
                continue
            except Exception as error:
                self.lost.append(
                    f"{shard.path}: example {row + 1} of it: {validate.unreadable(error)}"
                )
                continue
            if id in self._places:
                other = self._places[id].path.name
                raise WSignError(f"{shard.path}: {id!r} is in {other} too; pack the data set again")
            self._places[id] = _Place(shard.path, records, row)

    def ids(self, kind: Kind) -> set[str]:
        """Of all examples that are not lost: each has both kinds."""
        return set(self._places)

    def place(self, id: str, kind: Kind) -> str:
        """The shard, the id and the kind."""
        return f"{self._places[id].path}: {id}: {kind}"

    def read(self, id: str, kind: Kind) -> np.ndarray | str:
        """Reads a record."""
        _, records, row = self._places[id]
        try:
            record = records[row * len(_RECORDS) + _RECORDS.index(kind)]
            return validate.read(io.BytesIO(record))
        except Exception as error:  # of a damaged file, there are many
            return f"{self.place(id, kind)}: {validate.unreadable(error)}"


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard."""
    return _NAME.fullmatch(name) is not None


def _shards(folder: pathlib.Path) -> list[_Shard]:
    """The shards in a folder, by their names and in their order.

    Raises:
        WSignError: they cannot be of one data set.
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
    """The records of a shard, or what is wrong with it."""
    # Not needed for files, and not to be had on Windows.
    from array_record.python.array_record_data_source import ArrayRecordDataSource  # noqa: PLC0415

    wanted = shard.size * len(_RECORDS)
    try:
        records = ArrayRecordDataSource(str(shard.path))
        if len(records) == wanted:
            return records
        problem = f"unreadable (cut off or damaged: {len(records)} of {wanted} records)"
    except Exception as error:
        problem = validate.unreadable(error)
    return f"{shard.path}: {problem}; restore it, or pack the data set again"


def write_shards(
    folder: pathlib.Path,
    examples: Iterable[tuple[str, np.ndarray, np.ndarray]],
    count: int,
    examples_per_shard: int,
) -> None:
    """Packs a split.

    Args:
        folder: of the split.
        examples: ids, (U,) labels and (T, 42, 7) features, by id.
        count: of them.
        examples_per_shard: in all but the last shard.

    Raises:
        WSignError: it cannot be written.
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
                writer.write(npy(labels))
                writer.write(npy(features))
            writer.close()
        except RuntimeError as error:  # a full disk, too
            raise WSignError(f"{path}: cannot be written ({error})") from None


def npy(array: np.ndarray) -> bytes:
    """What a .npy of an array holds."""
    memory = io.BytesIO()
    np.save(memory, array, allow_pickle=False)
    return memory.getvalue()

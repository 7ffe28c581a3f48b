"""The data set on disk: where its files are, how they are written, read and checked.

<root>/{train,val,test}/features/<id>.npy   (T, 42, 7) float32, 60 Hz
<root>/{train,val,test}/labels/<id>.npy     (U,) integer gloss ids, 1 <= id < vocab_size; U is 0 for
                                            background, which shows no sign
<root>/{train,val,test}/segments/<id>.csv   optional: gloss_id,start_s,end_s
<root>/{train,val,test}/signers.csv         optional: id,signer
<root>/{train,val,test}/sessions.csv        optional: id,session; of recording
<root>/label_map.json                       {"<blank>": 0, "HELLO": 1, ...}
<root>/dataset.json                         optional: how it was made

A split may have packed features and labels instead (tools/pack_dataset.py; see storage.py):

<root>/{train,val,test}/examples-<first>-<last>-of-<all>.array_record
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import io
import pathlib
import shutil
from collections.abc import Iterator, Mapping

import numpy as np

from wsign_jax.common import files, tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data import storage, validate
from wsign_jax.keypoints import joints

SPLITS = ("train", "val", "test")
_MOST_KEPT = (
    1 << 30
)  # bytes of a split's keypoints in memory; PHOENIX-2014's training split has 0.98e9


# ------------------------------------------------------------------------------------------ writing


def write_label_map(root: pathlib.Path, mapping: Mapping[str, int]) -> None:
    """Writes `<root>/label_map.json`."""
    files.write_json(root / "label_map.json", dict(mapping))


@contextlib.contextmanager
def new_dataset(root: pathlib.Path, maker: str, resume: bool = False) -> Iterator[pathlib.Path]:
    """Yields a folder to write a whole data set into; it becomes `root` once all is written.

    A run that ends early leaves the folder hidden beside `root`. `root` never holds half a data set.

    Args:
        root: a new or an empty folder.
        maker: who writes; part of the hidden folder's name.
        resume: keeps the files of an earlier run, for the caller to go on with; otherwise they are
            removed.

    Raises:
        WSignError: `root` already holds something, or another process is making the same data set.
    """
    root = root.resolve()
    _check_free(root)
    partial = root.with_name(f".{root.name}.{maker}-partial")
    partial.mkdir(parents=True, exist_ok=True)
    taken = f"{root}: another command is making it; wait for its end, or name another folder"
    with files.hold_lock(partial, taken):
        _check_free(root)  # the other may have ended just now
        if not resume:
            for left in partial.iterdir():
                is_folder = left.is_dir() and not left.is_symlink()
                shutil.rmtree(left) if is_folder else left.unlink()
        yield partial
        if root.exists():
            root.rmdir()  # not every system renames onto an empty folder
        partial.rename(root)


def _check_free(root: pathlib.Path) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise WSignError(f"{root}: already holds something; remove it, or name a new folder")


def write_example(
    root: pathlib.Path,
    split: str,
    id: str,
    features: np.ndarray,
    labels: np.ndarray,
    segments: np.ndarray | None = None,
) -> None:
    """Writes one example.

    Args:
        root: the data set's folder.
        split: train, val or test.
        id: the file name without its ending.
        features: (T, 42, 7).
        labels: (U,) gloss ids.
        segments: (U, 2) start and end of every gloss in seconds, if known.
    """
    folder = root / split
    _write_array(folder / "features" / f"{id}.npy", np.asarray(features, np.float32))
    write_labels(root, split, id, labels)
    if segments is not None:
        rows = (f"{g},{s:.3f},{e:.3f}" for g, (s, e) in zip(labels, segments, strict=True))
        files.write(
            folder / "segments" / f"{id}.csv",
            "\n".join(["gloss_id,start_s,end_s", *rows, ""]).encode(),
        )


def write_labels(root: pathlib.Path, split: str, id: str, labels: np.ndarray) -> None:
    """Writes the (U,) gloss ids of an example whose features are there already."""
    _write_array(root / split / "labels" / f"{id}.npy", np.asarray(labels, np.int32))


def write_groups(root: pathlib.Path, split: str, unit: str, groups: Mapping[str, str]) -> None:
    """Writes `<root>/<split>/<unit>s.csv`: the signers or the sessions by example id."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("id", unit), *sorted(groups.items())])
    files.write(root / split / f"{unit}s.csv", table.getvalue().encode())


def _write_array(path: pathlib.Path, array: np.ndarray) -> None:
    # Through memory: numpy's own error on a full disk does not say that the disk is full.
    files.write(path, storage.npy_bytes(array))


# ------------------------------------------------------------------------------------------ reading


@dataclasses.dataclass(frozen=True)
class Split:
    """The good examples of one split, in the order of their ids; features are read when asked for."""

    root: pathlib.Path
    name: str
    ids: tuple[str, ...]
    frames: np.ndarray  # (n,) int32
    labels: tuple[np.ndarray, ...]  # n arrays (U,) int32
    aspect: float  # width / height of the picture, if y is still in heights; otherwise 1
    skipped: int  # bad examples left out
    examples: storage.Examples  # including the bad ones
    _kept: dict[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def max_labels(self) -> int:
        """The largest number of labels of any example, at least 1."""
        return max(1, *map(len, self.labels))

    def members(self, seed: int, epoch: int) -> np.ndarray:
        """Returns the (n,) int32 examples that take part in an epoch of training: all."""
        del seed, epoch
        return np.arange(len(self), dtype=np.int32)

    def place(self, index: int) -> str:
        """The name of one example's features for messages."""
        return self.examples.place(self.ids[index], "features")

    def stored(self, index: int) -> np.ndarray:
        """Reads the (T, 42, 7) float32 features of one example as they are on disk.

        Raises:
            WSignError: they are no longer what was validated.
        """
        with contextlib.suppress(WSignError):
            features = self.examples.read(self.ids[index], "features")
            validate.check_features(features, "")
            validate.check_hands(features, "")
            if len(features) == self.frames[index]:
                return features
        raise WSignError(
            f"{self.place(index)}: changed or became unreadable during the run; restore it"
        )

    def features(self, index: int) -> np.ndarray:
        """Reads the (T, 42, 7) float32 features of one example, y in image widths, not normalized.

        Raises:
            WSignError: they are no longer what was validated.
        """
        return joints.in_widths(self.stored(index), self.aspect)

    def keypoints(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an example's positions (T, 42, 3) and its hands' confidence (T, 2), as in `features`.

        If those of the whole split take at most 1 GiB, each is read once and stays in memory: training
        reads it every epoch.
        """
        found = self._kept.get(index)
        if found is None:
            strided, confidence = joints.positions_and_confidence(self.features(index))
            positions = np.empty(strided.shape, np.float32)
            for axis in range(3):  # numpy is slow if it takes three numbers at a time
                positions[..., axis] = strided[..., axis]
            found = positions, confidence.copy()  # not a view, which would keep all features
            if self.frames.sum() * (positions[0].nbytes + confidence[0].nbytes) <= _MOST_KEPT:
                self._kept[index] = found
        return found


def read_split(
    root: pathlib.Path,
    name: str,
    rules: validate.Rules,
    on_bad: str = "error",
    aspect: float = 0.0,
    *,
    flag: str = "--config.data.on_bad",
) -> Split:
    """Indexes and validates a split; reads every example once.

    Args:
        root: the data set's folder.
        name: train, val or test.
        rules: bounds that come from the model and the vocabulary.
        on_bad: 'error' stops at bad examples, after naming every one; 'skip' leaves them out.
        aspect: width / height of the pictures, if y is in heights. 0 takes the `aspect` of
            `dataset.json`, or 1 if that has none.
        flag: the flag with which a person sets `on_bad`; for the message.

    Raises:
        WSignError: the split is missing or empty, or has bad examples and `on_bad` is 'error'. The
            message names every offending file and the rule that it breaks.
    """
    folder = root / name
    examples = storage.find_examples(folder)
    ids = sorted(examples.ids("features") | examples.ids("labels"))
    problems = list(examples.lost)
    total = len(ids) + len(problems)
    if not total:
        raise WSignError(f"{folder}: no features/*.npy in it; the {name} split is empty")
    good: list[tuple[str, int, np.ndarray]] = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        checks = [pool.submit(storage.check_example, examples, id, rules) for id in ids]
        for id, check in zip(ids, checks, strict=True):
            try:
                good.append((id, *check.result()))
            except WSignError as error:
                problems.append(str(error))
    # All examples of a bad shard have the same problem: name it once.
    listing = "\n  ".join(dict.fromkeys(problems))
    if problems and on_bad == "error":
        raise WSignError(
            f"{folder}: {len(problems)} bad of {total} examples; fix them, or leave them out "
            f"with {flag}=skip\n  {listing}"
        )
    if not good:
        raise WSignError(f"{folder}: none of its {total} examples is usable\n  {listing}")
    for problem in dict.fromkeys(problems):
        print(f"warning: left out {problem}", flush=True)
    return Split(
        root=root,
        name=name,
        ids=tuple(id for id, _, _ in good),
        frames=np.array([frames for _, frames, _ in good], np.int32),
        labels=tuple(labels for _, _, labels in good),
        aspect=aspect or read_aspect(root),
        skipped=len(problems),
        examples=examples,
    )


def count(root: pathlib.Path, name: str) -> int:
    """Counts the examples that have features, good or bad; 0 if the split is missing."""
    return len(storage.find_examples(root / name).ids("features"))


def first_features(root: pathlib.Path, name: str) -> tuple[str, np.ndarray]:
    """Reads the example whose id comes first: the id, and (T, 42, 7) float32, y in image widths.

    Raises:
        WSignError: the split has no features, or they cannot be read.
    """
    examples = storage.find_examples(root / name)
    if not (ids := examples.ids("features")):
        raise WSignError(f"{root / name}: has no features; name a data set with a {name} split")
    features = examples.read(min(ids), "features")
    return min(ids), joints.in_widths(features.astype(np.float32, copy=False), read_aspect(root))


def read_features(path: pathlib.Path, aspect: float = 1.0) -> np.ndarray:
    """Reads (T, 42, 7) float32, y in image widths, from a .npy that need not be in a data set.

    Args:
        path: the file, which may hold NaN.
        aspect: as in `aspect_of`.

    Raises:
        WSignError: the file cannot be read, or does not hold features.
    """
    features = validate.load_npy(path)
    shape = (joints.NUM_JOINTS, joints.NUM_FEATURES)
    if features.shape[1:] != shape or not len(features) or features.dtype.kind != "f":
        raise WSignError(
            f"{path}: {features.dtype} of shape {features.shape} is not (T, 42, 7) floats; name a "
            "features file"
        )
    return joints.in_widths(features.astype(np.float32, copy=False), aspect_of(path, aspect))


def read_labels(root: pathlib.Path, split: str, vocab_size: int) -> list[np.ndarray]:
    """Reads the (U,) gloss ids of all examples of a split, in the order of the examples' ids.

    No features are read.

    Raises:
        WSignError: the split has no labels, some are lost, or some are not a list of gloss ids below
            `vocab_size`.
    """
    examples = storage.find_examples(root / split)
    if examples.lost:
        raise WSignError(examples.lost[0])
    result = []
    for id in sorted(examples.ids("labels")):
        labels = examples.read(id, "labels")
        validate.check_ids(labels, vocab_size, examples.place(id, "labels"))
        result.append(labels.astype(np.int32))
    if not result:
        raise WSignError(
            f"{root / split / 'labels'}: no *.npy in it; name a data set that has {split} labels"
        )
    return result


def read_segments(split: Split, index: int) -> np.ndarray | None:
    """Reads the (U, 2) start and end of an example's glosses in seconds; None without the file.

    Raises:
        WSignError: the file is not `gloss_id,start_s,end_s` with a row for every label.
    """
    path = split.root / split.name / "segments" / f"{split.ids[index]}.csv"
    if not path.exists():
        return None
    if not len(split.labels[index]):
        return np.empty((0, 2))
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise WSignError(f"{path}: not a table of gloss_id,start_s,end_s ({error})") from None
    # The label file itself, since the split may have the ids of another vocabulary.
    labels = split.examples.read(split.ids[index], "labels")
    if table.shape != (len(labels), 3) or np.any(table[:, 0] != labels):
        raise WSignError(f"{path}: its gloss ids are not those of the label file; write it again")
    return table[:, 1:]


def read_groups(root: pathlib.Path, name: str, unit: str) -> dict[str, str]:
    """Reads the signer or the session (`unit`) of each example of the split `name`, by id.

    Empty if `signers.csv` or `sessions.csv` is missing.

    Raises:
        WSignError: the file is not a table with each id once. The message names the line.
    """
    path = root / name / f"{unit}s.csv"
    if not path.exists():
        return {}
    rows, problems = tables.read_table(path, ("id", unit))
    groups: dict[str, str] = {}
    for where, fields in rows:
        id, group = fields["id"], fields[unit]
        try:
            files.check_id(id, f"{where}: the id")
            files.check_line(group, f"{where}: the {unit}")
        except WSignError as error:
            problems.append(str(error))
        if id in groups:
            problems.append(f"{where}: {id!r} is in it twice; keep one")
        groups[id] = group
    if problems:
        raise WSignError(problems[0])
    return groups


def aspect_of(path: pathlib.Path, aspect: float) -> float:
    """The width / height of a features file's pictures if its y is still in heights, otherwise 1.

    Args:
        path: the file; if it lies in a data set, `dataset.json` may tell.
        aspect: the value if it is known, otherwise 0.

    Raises:
        WSignError: the `aspect` of `dataset.json` is not such a number.
    """
    if not aspect and path.parent.name == "features":
        return read_aspect(path.absolute().parents[2])
    return aspect or 1.0


def read_aspect(root: pathlib.Path) -> float:
    """Reads the `aspect` of a data set's `dataset.json`; 1 if the file or the field is missing.

    Raises:
        WSignError: it is not the width / height of a picture.
    """
    path = root / "dataset.json"
    if not path.exists():
        return 1.0
    content = {"aspect": 1.0} | files.read_json(path)
    least, most = joints.ASPECTS
    allowed = f"width / height of the pictures, from {least:g} to {most:g}"
    return float(
        files.field(
            content,
            "aspect",
            str(path),
            (int, float),
            lambda value: least <= value <= most,
            allowed,
        )
    )

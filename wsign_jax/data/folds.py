"""Folds for cross-validation: each group of examples is held out once.

A group is a signer, a recording session, or one of K random parts. A fold tests on one group, validates
on the next one and trains on the others. Two groups are too few for that: then a part of the other
group validates.
"""

import collections
import dataclasses
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout

UNITS = ("signer", "session")
_VAL_OF_TRAIN = 5  # one of so many examples validates where there are two groups


@dataclasses.dataclass(frozen=True)
class Example:
    """An example of the data set that is folded."""

    split: str  # where it lies
    id: str
    group: str


@dataclasses.dataclass(frozen=True)
class Fold:
    """The examples that one training reads."""

    name: str  # of the group that it tests on
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]


def read_examples(
    root: pathlib.Path, splits: Sequence[str], folds: str, seed: int
) -> list[Example]:
    """Reads which examples a data set has, with the group of each.

    Args:
        root: the data set's folder.
        splits: the splits to take examples from.
        folds: 'signer', 'session', or the number of random parts.
        seed: draws the parts.

    Raises:
        WSignError: there are fewer than two groups, an example has none, an id is in two splits, or the
            examples are packed.
    """
    found = [(split, path.stem) for split in splits for path in _features(root, split)]
    ids = [id for _, id in found]
    if twice := sorted(id for id, count in collections.Counter(ids).items() if count > 1):
        raise WSignError(f"{root}: {twice[0]!r} is in two splits; give each example its own id")
    if folds in UNITS:
        groups = {
            id: group
            for split in splits
            for id, group in layout.read_groups(root, split, folds).items()
        }
        lacking = sorted(set(ids) - groups.keys())
        if lacking:
            raise WSignError(
                f"{root}: the {folds} of {len(lacking)} of {len(ids)} examples is not known, for "
                f"example of {lacking[0]!r}; import with {folds}s, or write --folds=5"
            )
    else:
        try:
            parts = int(folds)
        except ValueError:
            raise WSignError(f"--folds={folds}: write signer, session or a number") from None
        if not 2 <= parts <= len(ids):
            raise WSignError(f"--folds={folds}: must be 2 to {len(ids)}, the number of examples")
        order = np.random.default_rng([seed, parts]).permutation(len(ids))
        groups = {ids[index]: str(place % parts + 1) for place, index in enumerate(order)}
    examples = [Example(split, id, groups[id]) for split, id in found]
    names = sorted({example.group for example in examples})
    if len(names) < 2:
        raise WSignError(
            f"{root}: all {len(ids)} examples are of one {folds} ({', '.join(names)}); folds need "
            "two: write --folds=5"
        )
    return examples


def _features(root: pathlib.Path, split: str) -> list[pathlib.Path]:
    if any((root / split).glob("*.array_record")):
        raise WSignError(f"{root / split}: is packed; name the data set that it was packed from")
    found = sorted((root / split / "features").glob("[!.]*.npy"))
    if not found:
        raise WSignError(f"{root / split}: no features/*.npy in it; name other --splits")
    return found


def make_folds(examples: Sequence[Example]) -> list[Fold]:
    """Makes a fold of each group, in the order of their names."""
    names = sorted({example.group for example in examples})
    folds = []
    for place, name in enumerate(names):
        test = tuple(example for example in examples if example.group == name)
        rest = [example for example in examples if example.group != name]
        following = names[(place + 1) % len(names)]
        validates = (
            [example.group == following for example in rest]
            if len(names) > 2
            else [place % _VAL_OF_TRAIN == _VAL_OF_TRAIN - 1 for place in range(len(rest))]
        )
        val = tuple(e for e, chosen in zip(rest, validates, strict=True) if chosen)
        train = tuple(e for e, chosen in zip(rest, validates, strict=True) if not chosen)
        folds.append(Fold(name, train, val, test))
    return folds


def unseen_glosses(root: pathlib.Path, fold: Fold) -> set[int]:
    """Returns the ids of the glosses that a fold's test has and its training lacks."""
    known, tested = (
        {int(id) for example in part for id in _labels(root, example)}
        for part in (fold.train, fold.test)
    )
    return tested - known


def _labels(root: pathlib.Path, example: Example) -> np.ndarray:
    return np.load(root / example.split / "labels" / f"{example.id}.npy", allow_pickle=False)


def write_fold(root: pathlib.Path, fold: Fold, out: pathlib.Path) -> None:
    """Writes a fold as a data set of links to the files of `root`, if it is not there already.

    Raises:
        WSignError: `out` holds another fold.
    """
    record = out / "fold.json"
    now = {split: [e.id for e in getattr(fold, split)] for split in layout.SPLITS}
    if out.exists():
        if files.read_json(record) != now:
            raise WSignError(f"{out}: holds other examples; name another --out")
        return
    with layout.new_dataset(out, "fold") as folder:
        for name in ("label_map.json", "dataset.json"):
            if (root / name).exists():
                shutil.copyfile(root / name, folder / name)
        tables = {
            (unit, split): layout.read_groups(root, split, unit)
            for unit in UNITS
            for split in layout.SPLITS
        }
        for split in layout.SPLITS:
            examples = getattr(fold, split)
            for example in examples:
                _link(root, example, folder / split)
            for unit in UNITS:
                known = {
                    e.id: group for e in examples if (group := tables[unit, e.split].get(e.id))
                }
                if known:
                    layout.write_groups(folder, split, unit, known)
        files.write_json(folder / "fold.json", now)


def _link(root: pathlib.Path, example: Example, folder: pathlib.Path) -> None:
    for kind, ending in (("features", "npy"), ("labels", "npy"), ("segments", "csv")):
        source = (root / example.split / kind / f"{example.id}.{ending}").resolve()
        if source.exists():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / source.name).symlink_to(source)

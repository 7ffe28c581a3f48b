"""Draws splits for signing that comes without any: no session in two splits if that is possible.

A group is a set of clips that must stay together: those of a signer, or of a recording session. Each
group goes to one split as a whole, so that every gloss is in all three splits if it can be. A gloss that
was recorded in too few groups for that is cut. If some of its groups train and others do not, val and
test share the clips of the others. Otherwise the clips of each group are cut in the order of recording.
"""

import math
from collections.abc import Sequence

import numpy as np

from wsign_jax.data.layout import SPLITS

_SHARES = (0.7, 0.15, 0.15)  # target shares of all clips
# The cost of a gloss that is missing in train, in both others, or in one of them, and of shares that
# are off. Learning a sign comes first, then testing it on signing that training never saw.
_NO_TRAIN, _NO_HELD_OUT, _ONE_HELD_OUT, _OFF = 10.0, 8.0, 1.5, 4.0
_RESTARTS = 16  # the search begins this often
_VAL_OF_HELD_OUT = 0.4
_TRAIN_OF_CUT, _VAL_OF_CUT = 0.65, 0.8  # up to these shares of a group's clips


def split_groups(
    glosses: Sequence[Sequence[str]],
    groups: Sequence[str],
    seed: int,
    open_splits: Sequence[str] = SPLITS,
) -> dict[str, str]:
    """Gives every group a split.

    Args:
        glosses: the glosses of every clip.
        groups: the group of every clip.
        seed: the search's seed; the result depends on it and on the clips alone.
        open_splits: the splits to choose from.

    Returns:
        The split of each group.
    """
    names = sorted(set(groups))
    if not names:
        return {}
    columns = {gloss: n for n, gloss in enumerate(sorted({g for some in glosses for g in some}))}
    rows = {group: n for n, group in enumerate(names)}
    counts = np.zeros((len(names), len(columns)), np.int64)
    for some, group in zip(glosses, groups, strict=True):
        for gloss in some:
            counts[rows[group], columns[gloss]] += 1
    rng = np.random.default_rng([seed, len(names)])
    best, lowest = np.zeros(len(names), np.int64), np.inf
    shares = np.array(
        [share * (s in open_splits) for s, share in zip(SPLITS, _SHARES, strict=True)]
    )
    for _ in range(_RESTARTS):
        where, cost = _search(counts, shares / shares.sum(), rng)
        if cost < lowest:
            best, lowest = where, cost
    return {name: SPLITS[int(split)] for name, split in zip(names, best, strict=True)}


def _search(
    counts: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Moves one group after another, of (groups, glosses) counts, to the split that costs least.

    The (3,) target shares are 0 for splits that are not open.
    """
    where = rng.choice(3, size=len(counts), p=targets)
    totals = np.stack([counts[where == split].sum(0) for split in range(3)])  # (3, glosses)
    cost = _cost(totals, targets)
    improved = True
    while improved:
        improved = False
        for group in rng.permutation(len(counts)):
            before = where[group]
            for split in range(3):
                if split == where[group] or not targets[split]:
                    continue
                totals[where[group]] -= counts[group]
                totals[split] += counts[group]
                moved = _cost(totals, targets)
                if moved < cost - 1e-12:
                    where[group], cost = split, moved
                else:
                    totals[split] -= counts[group]
                    totals[where[group]] += counts[group]
            improved |= bool(where[group] != before)
    return where, cost


def _cost(totals: np.ndarray, targets: np.ndarray) -> float:
    train, val, test = totals == 0
    missing = _NO_TRAIN * train + _NO_HELD_OUT * (val & test) + _ONE_HELD_OUT * (val ^ test)
    shares = totals.sum(1) / max(totals.sum(), 1)
    return float(missing.mean() + _OFF * np.sum((shares - targets) ** 2))


def split_signs(
    glosses: Sequence[str],
    groups: Sequence[str],
    seed: int,
    open_splits: Sequence[str] = SPLITS,
) -> tuple[list[str], dict[str, list[str]]]:
    """Gives every clip of one sign a split.

    Args:
        glosses: the gloss of every clip, in the order of recording.
        groups: the group of every clip.
        seed: the seed of the search for the groups' splits.
        open_splits: the splits to choose from.

    Returns:
        The clips' splits; and the glosses that were cut, by the splits that share their groups: 'val
        and test', or 'all'.
    """
    of_group = split_groups([(gloss,) for gloss in glosses], groups, seed, open_splits)
    splits = [of_group[group] for group in groups]
    shared: dict[str, list[str]] = {"val and test": [], "all": []}
    clips_of: dict[str, dict[str, list[int]]] = {}
    for clip, (gloss, group) in enumerate(zip(glosses, groups, strict=True)):
        clips_of.setdefault(gloss, {}).setdefault(group, []).append(clip)
    for gloss, by_group in sorted(clips_of.items()):
        present = {of_group[group] for group in by_group}
        if present == set(open_splits):
            continue
        if "train" in present and len(present) == 2:
            shared["val and test"].append(gloss)
            cut = {g: (0.0, _VAL_OF_HELD_OUT) for g in by_group if of_group[g] != "train"}
        else:
            shared["all"].append(gloss)
            cut = dict.fromkeys(by_group, _cuts(open_splits))
        for group, (train, val) in cut.items():
            clips = by_group[group]
            train_end, val_end = _ends(len(clips), train, val)
            for place, clip in enumerate(clips):
                splits[clip] = SPLITS[int(place >= train_end) + int(place >= val_end)]
    return splits, shared


def _cuts(open_splits: Sequence[str]) -> tuple[float, float]:
    """The shares of a group's clips up to which they train, and up to which they train or validate."""
    if "test" not in open_splits:
        return _TRAIN_OF_CUT / _VAL_OF_CUT, 1.0
    train = _TRAIN_OF_CUT if "val" in open_splits else _VAL_OF_CUT
    return train, _VAL_OF_CUT


def _ends(count: int, train: float, val: float) -> tuple[int, int]:
    """The clips up to which a cut at two shares trains and validates: none of three splits is empty."""
    train_end, val_end = (math.ceil(share * count - 1e-9) for share in (train, val))
    if count >= len(SPLITS):
        val_end = val_end if val == 1.0 else min(val_end, count - 1)
        train_end = min(train_end, val_end - 1) if 0.0 < train < val else train_end
    return train_end, val_end

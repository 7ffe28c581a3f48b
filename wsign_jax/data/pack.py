"""Packs the examples of a whole data set in shards; storage.py describes a shard."""

import math
import os
import pathlib
import shutil
import sys
from collections.abc import Callable

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, storage, validate, vocab


def pack_dataset(
    source: pathlib.Path,
    out: pathlib.Path,
    examples_per_shard: int,
    on_bad: str = "error",
    progress: Callable[[str], None] = print,
) -> None:
    """Packs the examples of each split into a new or an empty folder; everything else is copied.

    A reader keeps each shard open, so there should be few shards. `on_bad` is as in `layout.read_split`.
    `progress` is called with a line for every split that is done.

    Raises:
        WSignError: there is not a data set at `source`, some of its examples are bad for every model,
            or `out` already holds something or lies in the data set.
    """
    if examples_per_shard < 1:
        raise WSignError(f"--examples_per_shard={examples_per_shard}: give 1 or more")
    named = (source / "label_map.json").exists()
    # The model decides how long an example may be, and how short for its labels.
    rules = validate.Rules(
        vocab_size=len(vocab.read_vocabulary(source)) if named else sys.maxsize,
        patch_size=1,
        max_seq_length=sys.maxsize,
    )
    splits = [
        layout.read_split(source, name, rules, on_bad, flag="--on_bad")
        for name in layout.SPLITS
        if (source / name).is_dir()
    ]
    if not splits:
        raise WSignError(f"{source}: no train, val or test in it; name a data set")
    if out.resolve().is_relative_to(source.resolve()) and out.resolve() != source.resolve():
        raise WSignError(f"{out}: lies in {source}; name a folder outside of it")
    with layout.new_dataset(out, "packed") as root:
        _copy_rest(source, root)
        for split in splits:
            _pack_split(split, root / split.name, examples_per_shard)
            shards = math.ceil(len(split) / examples_per_shard)
            plural = "" if shards == 1 else "s"
            progress(f"{split.name}: {len(split)} examples in {shards} shard{plural}")


def _pack_split(split: layout.Split, folder: pathlib.Path, examples_per_shard: int) -> None:
    folder.mkdir(exist_ok=True)
    arrays = ((id, split.labels[index], split.stored(index)) for index, id in enumerate(split.ids))
    storage.write_shards(folder, arrays, len(split), examples_per_shard)


def _copy_rest(source: pathlib.Path, root: pathlib.Path) -> None:
    """Copies every file that is neither hidden nor an example's array."""
    for name, folders, files in os.walk(source, followlinks=True):
        folder = pathlib.Path(name)
        in_split = folder.parent == source and folder.name in layout.SPLITS
        arrays = {"features", "labels"} if in_split else set()
        folders[:] = [f for f in folders if not f.startswith(".") and f not in arrays]
        target = root / folder.relative_to(source)
        for file in files:
            if not file.startswith(".") and not (in_split and storage.is_shard(file)):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file, target / file)

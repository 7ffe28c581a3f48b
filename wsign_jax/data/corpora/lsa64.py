"""LSA64: 64 isolated Argentinian signs by 10 signers, 5 times each.

<sign>_<signer>_<repetition>.mp4, for example 001_001_001.mp4
"""

import pathlib
import re

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus, Record


def read(
    root: pathlib.Path, val_signers: tuple[int, ...] = (9,), test_signers: tuple[int, ...] = (10,)
) -> Corpus:
    """Reads the videos' names; a sign's gloss is its number, for example '001'.

    Args:
        root: the folder of the videos, or a folder above it.
        val_signers: signers held out for validation.
        test_signers: signers held out for testing; all others train.

    Raises:
        WSignError: there are no videos, or a signer is in both lists.
    """
    both = set(val_signers) & set(test_signers)
    if both:
        raise WSignError(
            f"--val_signers and --test_signers share {sorted(both)}; give each its own"
        )
    splits = dict.fromkeys(val_signers, "val") | dict.fromkeys(test_signers, "test")
    found: list[Record] = []
    problems: list[str] = []
    for path in records.videos_below(root):
        name = re.fullmatch(r"(\d{3})_(\d{3})_(\d{3})", path.stem)
        if name is None:
            problems.append(f"{path}: its name is not <sign>_<signer>_<repetition>")
            continue
        sign, signer, _ = name.groups()
        split = splits.get(int(signer), "train")
        found.append(
            Record(split, path.stem, (sign,), str(path), signer, session=signer, source=path)
        )
    notes = (f"signers {val_signers} are val, {test_signers} are test, the others train",)
    return Corpus("lsa64", tuple(found), tuple(problems), notes)

"""LSA64: 64 isolated Argentinian signs by 10 signers, 5 times each.

<sign>_<signer>_<repetition>.mp4, for example 001_001_001.mp4
"""

import pathlib
import re

from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus, Record

_SPLITS = {"009": "val", "010": "test"}  # by signer; all others train


def read(root: pathlib.Path) -> Corpus:
    """Reads the videos' names; a sign's gloss is its number, for example '001'.

    Args:
        root: the folder of the videos, or a folder above it.

    Raises:
        WSignError: there are no videos.
    """
    found: list[Record] = []
    problems: list[str] = []
    for path in records.videos_below(root):
        name = re.fullmatch(r"(\d{3})_(\d{3})_(\d{3})", path.stem)
        if name is None:
            problems.append(f"{path}: its name is not <sign>_<signer>_<repetition>")
            continue
        sign, signer, _ = name.groups()
        split = _SPLITS.get(signer, "train")
        found.append(
            Record(split, path.stem, (sign,), str(path), signer, session=signer, source=path)
        )
    notes = ("signer 009 is val, 010 is test, the others train",)
    return Corpus("lsa64", tuple(found), tuple(problems), notes)

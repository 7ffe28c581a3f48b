"""RWTH-PHOENIX-Weather 2014, multisigner: German weather forecasts with glosses; 25 fps pictures.

phoenix-2014-multisigner/annotations/manual/{train,dev,test}.corpus.csv
phoenix-2014-multisigner/features/fullFrame-210x260px/{train,dev,test}/<folder>

The three splits together have 1295 different glosses as written; with the blank the vocabulary is 1296.
Training uses the glosses as written. Scores are compared after `normalize_glosses`.
"""

import pathlib
import re

from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus

COLUMNS = {"id": "id", "folder": "folder", "signer": "signer", "glosses": "annotation"}

# A whole sentence in 16 frames; common practice leaves it out of training.
BROKEN = "13April_2011_Wednesday_tagesschau_default-14"

# The clean-up of the published scorer, in its order, for a sentence with a space in front. A deletion
# can leave two spaces in a row. They stay, so that the glosses on both sides of it are not merged.
_CLEANUP = tuple(
    (re.compile(pattern, re.ASCII), replacement)
    for pattern, replacement in (
        ("(?:loc|cl|qu|poss|lh)-", ""),
        ("S0NNE", "SONNE"),
        ("HABEN2", "HABEN"),
        ("__(?:EMOTION|PU|LEFTHAND)__", ""),
        ("WIE AUSSEHEN", "WIE-AUSSEHEN"),
        ("ZEIGEN(?= |$)", "ZEIGEN-BILDSCHIRM"),
        # A spelled word: letters that stand alone.
        ("(?<=[ +][A-Z]) (?=[A-Z][ +])", "+"),
        (r"([ +]SCH) ([A-Z][ +])", r"\1+\2"),
        (r"([ +]NN) ([A-Z][ +])", r"\1+\2"),
        (r"([ +][A-Z]) (NN[ +])", r"\1+\2"),
        ("(?<=[ +][A-Z]) (?=[A-Z]$)", "+"),
        (r"([A-Z]{2})RAUM", r"\1"),
        ("-PLUSPLUS", ""),
        # A gloss that is repeated up to 16 times takes four rounds.
        *[(r"(?<![\w-])([A-Z]+)(?![\w-]) \1(?![\w-])", r"\1")] * 4,
    )
)


def normalize_glosses(text: str) -> list[str]:
    """Applies the clean-up that published scores use on references and hypotheses alike.

    Args:
        text: glosses as written, separated by spaces, for example 'WESTRAUM REGEN REGEN __PU__'.

    Returns:
        The glosses to score, for example ['WEST', 'REGEN']; may be empty.
    """
    text = f" {text}"
    for pattern, replacement in _CLEANUP:
        text = pattern.sub(replacement, text)
    return text.split()


def read(root: pathlib.Path, keep_broken: bool = False) -> Corpus:
    """Reads the published release.

    Args:
        root: the multisigner folder, or a folder above it.
        keep_broken: keeps the training sentence that is known to be broken.

    Raises:
        WSignError: an annotation file is missing, or is not such a table.
    """
    root = records.find_root(
        root,
        "annotations/manual/train.corpus.csv",
        "phoenix-2014-multisigner",
        "phoenix2014-release/phoenix-2014-multisigner",
    )
    found, problems = records.read_phoenix(root, "{}.corpus.csv", COLUMNS)
    notes: list[str] = []
    glosses = tuple(gloss for record in found for gloss in record.glosses)
    if not keep_broken and any(record.id == BROKEN for record in found):
        found = [record for record in found if record.id != BROKEN]
        notes = [f"left out {BROKEN}, known to be broken; --keep_broken keeps it"]
    present, missing = records.check_sources(found)
    return Corpus("phoenix2014", tuple(present), (*problems, *missing), tuple(notes), glosses)

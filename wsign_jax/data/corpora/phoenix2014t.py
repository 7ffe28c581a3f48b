"""RWTH-PHOENIX-Weather 2014T: German weather forecasts with glosses and translations; 25 fps pictures.

PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv
PHOENIX-2014-T/features/fullFrame-210x260px/{train,dev,test}/<name>/*.png
"""

import pathlib

from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus

SPLITS = {"train": "train", "dev": "val", "test": "test"}  # by their published names
FPS = 25.0
COLUMNS = {"id": "name", "folder": "name", "signer": "speaker", "glosses": "orth"}


def read(root: pathlib.Path) -> Corpus:
    """Reads the published release.

    Args:
        root: the release's folder, or one above.

    Raises:
        WSignError: an annotation file is missing or is no such table.
    """
    root = records.find_root(
        root,
        "annotations/manual/PHOENIX-2014-T.train.corpus.csv",
        "PHOENIX-2014-T",
        "PHOENIX-2014-T-release-v3/PHOENIX-2014-T",
    )
    found, problems = [], []
    for published, split in SPLITS.items():
        table = root / "annotations" / "manual" / f"PHOENIX-2014-T.{published}.corpus.csv"
        pictures = root / "features" / "fullFrame-210x260px" / published
        rows, broken = records.read_pictures(table, pictures, split, COLUMNS, FPS)
        found += rows
        problems += broken
    present, missing = records.check_sources(found)
    glosses = tuple(gloss for record in found for gloss in record.glosses)
    return Corpus("phoenix2014t", tuple(present), (*problems, *missing), glosses=glosses)

"""RWTH-PHOENIX-Weather 2014T: German weather forecasts with glosses and translations; 25 fps pictures.

PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv
PHOENIX-2014-T/features/fullFrame-210x260px/{train,dev,test}/<name>/*.png
"""

import pathlib

from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import Corpus

COLUMNS = {"id": "name", "folder": "name", "signer": "speaker", "glosses": "orth"}


def read(root: pathlib.Path) -> Corpus:
    """Reads the published release.

    Args:
        root: the release's folder, or a folder above it.

    Raises:
        WSignError: an annotation file is missing, or is not such a table.
    """
    root = records.find_root(
        root,
        "annotations/manual/PHOENIX-2014-T.train.corpus.csv",
        "PHOENIX-2014-T",
        "PHOENIX-2014-T-release-v3/PHOENIX-2014-T",
    )
    found, problems = records.read_phoenix(root, "PHOENIX-2014-T.{}.corpus.csv", COLUMNS)
    present, missing = records.check_sources(found)
    glosses = tuple(gloss for record in found for gloss in record.glosses)
    return Corpus("phoenix2014t", tuple(present), (*problems, *missing), glosses=glosses)

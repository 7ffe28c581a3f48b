"""Reads arrays from files that anybody may have written."""

import io
import zipfile
from collections.abc import Set

import numpy as np


def parse_npz(content: bytes, names: Set[str], most_bytes: int) -> dict[str, np.ndarray]:
    """Returns the arrays of a `.npz`, which must be just those of these names.

    Raises:
        ValueError: it has others, or they take more than `most_bytes`.
        Exception: it is damaged; zipfile and numpy raise almost anything.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        found = [member.filename for member in members]
        if sorted(found) != sorted(f"{name}.npy" for name in names):
            raise ValueError("other members")
        if sum(member.file_size for member in members) > most_bytes:
            raise ValueError("too large")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive.items())

"""Small trees in the form of corpora that are published as landmarks."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from tests.helpers import corpora

SIGNS_HEADER = "path,participant_id,sequence_id,sign"
SPELLING_HEADER = "path,file_id,sequence_id,participant_id,phrase"
_KINDS = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}


def write_parquet(path: pathlib.Path, columns: dict[str, object]) -> pathlib.Path:
    """A parquet file; skips the test without pyarrow."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(__import__("pyarrow").table(columns), path)
    return path


def landmarks(frames: int, seed: int = 0, aspect: float = 0.75) -> dict[str, np.ndarray]:
    """Landmarks (t, n, 3) by kind; the left hand is NaN, and so is the right in the first frame."""
    rng = np.random.default_rng(seed)
    found = {kind: rng.uniform(0.4, 0.6, (frames, n, 3)) for kind, n in _KINDS.items()}
    found["right_hand"] = 0.5 + corpora.HAND + rng.normal(0, 0.002, (frames, 21, 3))
    ends = np.array([[0.5, 0.3], [0.5, 0.3 + 0.2 * 1.22 * aspect], [0.4, 0.4], [0.6, 0.4]])
    found["face"][:, [10, 152, 234, 454], :2] = ends
    found["left_hand"][:] = np.nan
    found["right_hand"][0] = np.nan
    return found


def asl_signs(root: pathlib.Path) -> pathlib.Path:
    """Writes three signs of two participants, frames from 20 on, and names one that is not there."""
    rows = [SIGNS_HEADER]
    for participant, sequence, sign in (
        (26734, 1000, "TV"),
        (26734, 1001, "after"),
        (28656, 1002, "TV"),
    ):
        path = f"train_landmark_files/{participant}/{sequence}.parquet"
        rows.append(f"{path},{participant},{sequence},{sign}")
        points = landmarks(6, sequence)
        names = [(kind, index) for kind, count in _KINDS.items() for index in range(count)]
        values = np.concatenate(list(points.values()), axis=1).reshape(-1, 3)
        frame = np.repeat(np.arange(20, 26), len(names))
        write_parquet(
            root / path,
            {
                "frame": frame.astype(np.int16),
                "row_id": [f"{f}-{k}-{i}" for f in range(20, 26) for k, i in names],
                "type": [kind for _ in range(6) for kind, _ in names],
                "landmark_index": np.tile([index for _, index in names], 6).astype(np.int16),
                **dict(zip("xyz", values.T, strict=True)),
            },
        )
    rows.append("train_landmark_files/1/2.parquet,1,2,cat")
    corpora.write(root / "train.csv", "\n".join([*rows, ""]))
    index = {"TV": 0, "after": 1, "cat": 2}
    corpora.write(root / "sign_to_prediction_index_map.json", json.dumps(index))
    return root


def asl_fingerspelling(root: pathlib.Path) -> pathlib.Path:
    """Writes a file of two phrases, and a supplemental one, float32 as published."""
    spelled = ((1816796431, 217, "3 creek"), (1816825349, 107, "a-b"))
    more = ((1535467051, 251, "coming up"),)
    tables = {
        "train.csv": ("train_landmarks", 5414471, spelled),
        "supplemental_metadata.csv": ("supplemental_landmarks", 33432165, more),
    }
    for table, (folder, file, phrases) in tables.items():
        path = f"{folder}/{file}.parquet"
        rows = [f"{path},{file},{id},{person},{phrase}" for id, person, phrase in phrases]
        corpora.write(root / table, "\n".join([SPELLING_HEADER, *rows, ""]))
        points = landmarks(5 * len(phrases), file, aspect=4 / 3)
        columns = {
            f"{axis}_{kind}_{index}": values[:, index, number].astype(np.float32)
            for number, axis in enumerate("xyz")
            for kind, values in points.items()
            for index in range(values.shape[1])
        }
        ids = np.repeat([id for id, _, _ in phrases], 5)
        frames = np.tile(np.arange(5, dtype=np.int16), len(phrases))
        write_parquet(root / path, {"sequence_id": ids, "frame": frames, **columns})
    return root


def isharah(root: pathlib.Path, protocol: int = 4) -> pathlib.Path:
    """Writes the signer-independent annotations of Isharah-2000 and their keypoints, in pixels."""
    rows = {
        "train": ("00_0001|سوال هو", "01_0001|سوال هو"),
        "dev": ("02_0001|سوال هو", "02_0002|هو معلم", "02_0003|هو"),
    }
    clips = {}
    rng = np.random.default_rng(0)
    for split, lines in rows.items():
        corpora.write(
            root / "annotations" / "SI" / f"{split}.csv", "\n".join(["id|gloss", *lines, ""])
        )
        for line in lines:
            points = rng.uniform(400, 600, (8, 86, 2))
            points[:, :42] = (
                500 + 1000 * np.tile(corpora.HAND, (2, 1))[:, :2] + rng.normal(0, 2, (8, 42, 2))
            )
            points[:3, 21:42] = 0.0  # the left hand is the second
            points[:, 72], points[:, 73] = (700, 900), (300, 900)
            clips[line.partition("|")[0]] = {"keypoints": points}
    corpora.write(root / "annotations" / "SI" / "SI_test.txt", "id|gloss\n1| \n2| \n")
    with (root / "pose_data_isharah2000_hands_lips_body_phase2_SI.pkl").open("wb") as file:
        pickle.dump(clips, file, protocol)
    return root

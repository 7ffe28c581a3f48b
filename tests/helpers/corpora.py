"""Small trees in the form in which corpora are published, and a stand-in for reading videos."""

import dataclasses
import json
import pathlib

import numpy as np

from tests.conftest import random_features

PHOENIX_ROWS = {
    "train": (
        ("01April_2010_Thursday_heute_default-2", "Signer04", "loc-WEST WARM loc-WEST BLEIBEN"),
        ("13April_2011_Wednesday_tagesschau_default-14", "Signer05", "__ON__ BROKEN-ONE"),
    ),
    "dev": (("11August_2010_Wednesday_tagesschau_default-1", "Signer08", "WARM REGEN"),),
    "test": (("02June_2010_Wednesday_heute_default-0", "Signer01", "REGEN REGEN __OFF__"),),
}
LEFT, RIGHT = slice(0, 21), slice(21, 42)


def _hand() -> np.ndarray:
    """An open hand (21, 3), 0.1 from the wrist to the middle finger's knuckle."""
    fingers = zip((-0.8, -0.25, 0.0, 0.2, 0.4), (0.4, 1.0, 1.0, 0.95, 0.9), strict=True)
    points = [(0.0, 0.0)]
    for angle, knuckle in fingers:
        for bone in range(4):
            length = knuckle + 0.3 * bone
            points.append((length * np.sin(angle), -length * np.cos(angle)))
    return 0.1 * np.pad(np.array(points), ((0, 0), (0, 1)))


HAND = _hand()


def touch(path: pathlib.Path) -> pathlib.Path:
    """An empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def phoenix2014(root: pathlib.Path) -> pathlib.Path:
    """Writes four sentences; returns the multisigner folder."""
    root = root / "phoenix-2014-multisigner"
    for split, rows in PHOENIX_ROWS.items():
        lines = ["id|folder|signer|annotation"]
        for id, signer, glosses in rows:
            lines.append(f"{id}|{id}/1/*.png|{signer}|{glosses}")
            touch(root / "features" / "fullFrame-210x260px" / split / id / "1" / f"{id}.png")
        write(root / "annotations" / "manual" / f"{split}.corpus.csv", "\n".join([*lines, ""]))
    return root


def phoenix2014t(root: pathlib.Path) -> pathlib.Path:
    """Writes a sentence a split; returns the folder above the release's own."""
    inner = root / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"
    rows = {
        "train": ("11August_2010_Wednesday_tagesschau-2", "Signer08", "DRUCK TIEF KOMMEN"),
        "dev": ("11August_2010_Wednesday_tagesschau-4", "Signer08", "TIEF"),
        "test": ("11August_2010_Wednesday_tagesschau-6", "Signer01", "KOMMEN DRUCK"),
    }
    for split, (id, signer, glosses) in rows.items():
        text = f'{id}|{id}/1/*.png|-1|-1|{signer}|{glosses}|tiefer "luftdruck" bestimmt, nächstens'
        header = "name|video|start|end|speaker|orth|translation"
        file = f"PHOENIX-2014-T.{split}.corpus.csv"
        write(inner / "annotations" / "manual" / file, f"{header}\n{text}\n")
        touch(inner / "features" / "fullFrame-210x260px" / split / id / "images0001.png")
    return root


def msasl_item(label: int, video: str, start: float = 1.0, **changes: object) -> dict[str, object]:
    """An annotation of MS-ASL."""
    item = {
        "org_text": "x", "clean_text": "x", "text": "x", "label": label, "signer": 3,
        "signer_id": 16, "start": 30, "end": 75, "start_time": start, "end_time": start + 1.5,
        "fps": 30.0, "width": 640.0, "height": 360.0, "box": [0.1, 0.2, 0.9, 0.8],
        "url": f"https://www.youtube.com/watch?v={video}", "file": "MATCH [x]",
    }  # fmt: skip
    return item | changes


def msasl(root: pathlib.Path) -> pathlib.Path:
    """Writes four signs in three videos."""
    write(root / "MSASL_classes.json", json.dumps(["hello", "thank you", "nice"]))
    items = {
        "train": [msasl_item(0, "aB-3_x"), msasl_item(1, "aB-3_x", 4.0)],
        "val": [msasl_item(1, "cD4")],
        "test": [msasl_item(2, "eF5", url="https://youtu.be/eF5?t=3")],
    }
    for split, some in items.items():
        write(root / f"MSASL_{split}.json", json.dumps(some))
    for video in ("aB-3_x", "cD4", "eF5"):
        touch(root / "videos" / f"{video}.mp4")
    return root


def lsa64(root: pathlib.Path) -> pathlib.Path:
    """Writes two signs of signers 1, 9 and 10."""
    for signer in (1, 9, 10):
        for sign in (1, 64):
            touch(root / "all" / f"{sign:03d}_{signer:03d}_001.mp4")
    return root


def mp_data(root: pathlib.Path, signs: tuple[str, ...] = ("hello", "two words")) -> pathlib.Path:
    """Writes six sequences of each sign into MP_Data."""
    mp_tree(root / "MP_Data", signs, (0, 1, 30, 31, 60, 61))
    return root


def mp_tree(
    root: pathlib.Path,
    signs: tuple[str, ...] = ("hello",),
    sequences: tuple[int, ...] = (0, 1, 2),
    seed: int = 0,
    frames: int = 8,
    face: float = 0.0,
) -> pathlib.Path:
    """Writes sequences of each sign; with a face of that height over its width, if it is not 0."""
    rng = np.random.default_rng(seed)
    for sign in signs:
        for sequence in sequences:
            for frame in range(frames):
                path = root / sign / str(sequence) / f"{frame}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, holistic_vector(rng, face))
    return root


def holistic_vector(rng: np.random.Generator, face: float = 0.0) -> np.ndarray:
    """A frame of pose, a face if its height over its width is not 0, and hands; no left one."""
    hands = np.zeros((42, 3))
    hands[RIGHT] = HAND + rng.normal(0, 0.002, size=(21, 3)) + rng.uniform(0.4, 0.6, size=3)
    points = np.zeros((468 if face else 0, 3))
    if face:
        points[[234, 454], 0] = 0.4, 0.5
        points[[10, 152], 1] = 0.2, 0.2 + 0.1 * face
    return np.concatenate([rng.random(33 * 4), points.ravel(), hands.ravel()])


def ksl_trees(source: pathlib.Path, root: pathlib.Path, each: int) -> pathlib.Path:
    """Writes clips of `../shared/data/ksl` as trees, a round each: MP_Data, MP_Data1, ...

    Args:
        source: the folder of its .npz files.
        root: where the trees go.
        each: the most clips of a sign in a round; 0 writes all.
    """
    for path in sorted(source.glob("*.npz")):
        with np.load(path) as arrays:
            clips = arrays["keypoints"].reshape(len(arrays["lengths"]), -1, 126).astype(float)
            rounds = arrays["session"]
        for name in np.unique(rounds):
            for number, clip in enumerate(clips[rounds == name][: each or None]):
                folder = root / name / path.stem / str(number)
                folder.mkdir(parents=True)
                for frame, vector in enumerate(clip):
                    np.save(folder / f"{frame}.npy", np.concatenate([np.zeros(132), vector]))
    return root


def npz_clips(
    root: pathlib.Path, glosses: tuple[str, ...] = ("hello", "please", "tea"), count: int = 12
) -> pathlib.Path:
    """Writes clips of two signers, four sessions each, as `<gloss>.npz`."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True, exist_ok=True)
    for gloss in glosses:
        path = np.cumsum(rng.normal(0, 0.01, size=(count, 20, 1, 3)), axis=1)
        hands = np.tile(HAND, (2, 1)) + rng.normal(0, 0.003, size=(42, 3))
        keypoints = 0.5 + hands + path
        present = np.ones((count, 20, 2), np.uint8)
        present[:, :, 0] = 0
        numbers = np.arange(count)
        np.savez(
            root / f"{gloss}.npz",
            keypoints=keypoints.astype(np.float16),
            present=present,
            signer=np.array([f"S{n % 2}" for n in numbers]),
            session=np.array([f"{n % 2}-{n // 2 % 4}" for n in numbers]),
        )
    return root


@dataclasses.dataclass(frozen=True)
class Clip:
    """As that of the extraction."""

    id: str
    source: pathlib.Path
    fps: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    box: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """As that of the extraction, as far as it is used."""

    id: str
    problem: str | None = None


class FakeExtraction:
    """Writes random features instead of reading videos; clips of `broken` ids fail."""

    Clip = Clip

    def __init__(self, broken: tuple[str, ...] = ()):
        self.broken = broken
        self.read: list[Clip] = []

    def extract_clips(self, clips, output_dir, settings, workers=0):
        reports = []
        for clip in clips:
            if clip.id in self.broken:
                reports.append(Report(clip.id, f"{clip.source}: has no frames"))
                continue
            path = output_dir / f"{clip.id}.npy"
            if not path.exists():
                self.read.append(clip)
                np.save(path, random_features(np.random.default_rng(len(clip.id)), 60))
            reports.append(Report(clip.id))
        return reports

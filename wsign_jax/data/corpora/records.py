"""The form that every corpus is read into: records of who signs which glosses, and in which video."""

import argparse
import contextlib
import dataclasses
import fractions
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from wsign_jax.common import files, tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate
from wsign_jax.keypoints import joints, video
from wsign_jax.keypoints.resample import resample

_PHOENIX_SPLITS = {"train": "train", "dev": "val", "test": "test"}  # by their published names
_PHOENIX_FPS = 25.0

# Names of folders, in lower case, whose clips show no sign. "none" and "idle" could be signs; the import
# says how it took them.
BACKGROUND = {"_", "none", "background", "idle", "no_sign", "no-sign", "no_gesture", "no-gesture"}
_SPLIT_NAMES = {
    **{name: "train" for name in ("train", "training")},
    **{name: "val" for name in ("val", "valid", "validation", "dev")},
    **{name: "test" for name in ("test", "testing")},
}

FPS = 30.0  # of keypoints without a rate
_MOST_FPS = 1000.0
ASPECT = 4 / 3  # width / height of pictures of which nothing is known
GIVEN, ASSUMED = "given", "assumed"

_NUMBER = re.compile(r"([0-9]+)")
_LFS = b"version https://git-lfs"

Value = TypeVar("Value", bound=float | None)

MOST_SECONDS = 3600  # for one piece of signing: a wrong rate must not fill the memory


class Keypoints(NamedTuple):
    """Keypoints as they were recorded, at their own times."""

    positions: np.ndarray  # (t, 42, 3), image widths; arbitrary values while the hand is absent
    confidence: np.ndarray  # (t, 2), left and right hand, 0 if the hand was not seen
    times: np.ndarray  # (t,) seconds, increasing


@dataclasses.dataclass(frozen=True)
class Record:
    """One annotated piece of signing: a video, a part of one, a folder of pictures, or keypoints."""

    split: str  # train, val or test; '' if the corpus does not say
    id: str  # the example's id and file name
    glosses: tuple[str, ...]  # () for background: movement that is no sign
    where: str  # the annotation, for messages: 'FILE:LINE'
    signer: str = ""  # '' if unknown; so is session
    session: str = ""
    source: pathlib.Path | None = None  # video or folder of pictures
    fps: float | None = None  # the rate of a folder of pictures
    start_s: float | None = None  # part of the video
    end_s: float | None = None
    box: tuple[float, float, float, float] | None = None  # y0, x0, y1, x1 as shares of the frame
    segments: tuple[tuple[float, float], ...] | None = None  # start and end of each gloss, seconds
    keypoints: Callable[[], Keypoints] | None = None  # reads keypoints; then there is no source


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus as read."""

    name: str
    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()  # annotations that cannot be used, one line each
    notes: tuple[str, ...] = ()  # things left out on purpose, and decisions made
    glosses: tuple[str, ...] = ()  # more names of the vocabulary than the records use
    # How it was recorded, known or assumed; see `recorded_as`.
    recorded: Mapping[str, object] = dataclasses.field(default_factory=dict)
    # The arguments of the reader.
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)


def glosses_of(name: str) -> tuple[str, ...]:
    """Returns the gloss of the clips in a folder or file of that name; () if they are background."""
    return () if name.strip().lower() in BACKGROUND else ("-".join(name.split()),)


def split_of(name: str) -> str | None:
    """Returns train, val or test for a split's usual names, '' for '', and None for other names."""
    return _SPLIT_NAMES.get(name.lower(), None if name else "")


def natural_order(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts names by the numbers in them: 2 before 10."""
    return [
        (len(digits := part.lstrip("0")), digits) if n % 2 else (0, part)
        for n, part in enumerate(_NUMBER.split(name))
    ]


def check_names(record: Record) -> None:
    """Raises a `WSignError` if a record's id, signer or gloss is not a valid name."""
    for gloss in record.glosses:
        files.check_line(gloss, f"{record.where}: gloss")
    files.check_id(record.id, f"{record.where}: the id")
    for what in ("signer", "session"):
        if name := getattr(record, what):
            files.check_line(name, f"{record.where}: the {what}")


def check_fetched(path: pathlib.Path) -> None:
    """Raises a `WSignError` if a file is only Git LFS's pointer to what should be in it."""
    if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(_LFS):
        raise WSignError(f"{path}: a Git LFS pointer, not the file; run git lfs pull in its folder")


def read_numbers(path: pathlib.Path, fix: str) -> np.ndarray:
    """Reads the numbers in a .npy; raises a `WSignError`, which ends in `fix`, if it has none."""
    try:
        array = validate.load_npy(path)
    except WSignError as error:
        with contextlib.suppress(OSError):
            check_fetched(path)
        raise WSignError(f"{error}; {fix}") from None
    if array.dtype.kind not in "fiu":
        raise WSignError(f"{path}: holds {array.dtype}, not real numbers; {fix}")
    return array


def sample_keypoints(keypoints: Keypoints, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Resamples keypoints to 60 Hz: (T, 42, 3) positions and (T, 2) confidence; see `resample`.

    Raises:
        WSignError: they last longer than `MOST_SECONDS`; the message begins with `where`.
    """
    seconds = keypoints.times[-1] - keypoints.times[0]
    if not seconds <= MOST_SECONDS:
        raise WSignError(
            f"{where}: lasts {seconds:.6g} s, and the most is {MOST_SECONDS}; give the true times, or "
            "cut it"
        )
    present = keypoints.confidence > 0
    positions, seen = resample(keypoints.positions, present, keypoints.times)
    times = keypoints.times[0] + np.arange(len(positions)) / joints.FPS
    confidence = np.zeros(seen.shape)
    for side in range(2):
        known = present[:, side]
        if known.any():
            values = np.interp(times, keypoints.times[known], keypoints.confidence[known, side])
            confidence[:, side] = np.where(seen[:, side], values, 0.0)
    return positions, confidence


def find_root(root: pathlib.Path, file: str, *below: str) -> pathlib.Path:
    """Finds the folder that holds `file`: `root` itself, or one of the folders `below` in it.

    Raises:
        WSignError: `root` is missing, or none of these folders holds `file`.
    """
    for folder in (root, *(root / name for name in below)):
        if (folder / file).is_file():
            return folder
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    raise WSignError(f"{root}: no {file} in it; name the corpus's own folder with --root=DIR")


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
    """Lists the folders in a folder by name, without those that hold no recordings."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not _is_passed_over(path))


def walk_folders(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Yields a folder and those below it, links too but each once, with their visible files.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for name, inside, names in os.walk(root, onerror=fail, followlinks=True):
        here, place = pathlib.Path(name), os.path.realpath(name)
        if place in seen:
            inside.clear()
            continue
        seen.add(place)
        inside[:] = sorted((x for x in inside if not _is_passed_over(here / x)), key=natural_order)
        yield here, sorted((file for file in names if file[0] != "."), key=natural_order)


def _is_passed_over(folder: pathlib.Path) -> bool:
    """Tells whether a folder is hidden, or macOS's shadow of an archive's, or a data set as written."""
    is_shadow = folder.name[0] == "." or folder.name == "__MACOSX"
    return is_shadow or os.path.isfile(folder / "label_map.json")


def read_phoenix(
    root: pathlib.Path, table: str, columns: Mapping[str, str]
) -> tuple[list[Record], list[str]]:
    """Reads the annotations of either PHOENIX corpus; each row names a folder of pictures.

    Args:
        root: the corpus's folder.
        table: the name of a split's file in annotations/manual, with '{}' for 'train', 'dev' or
            'test'; its fields are separated by '|'.
        columns: the files' column names for `id`, `folder`, `signer` and `glosses`.

    Returns:
        The records of all readable rows, whether their pictures exist or not, because their glosses
        belong to the vocabulary anyway; and the problems of the other rows.

    Raises:
        WSignError: an annotation file is missing, or is not such a table.
    """
    records, problems = [], []
    for published, split in _PHOENIX_SPLITS.items():
        pictures = root / "features" / "fullFrame-210x260px" / published
        path = root / "annotations" / "manual" / table.format(published)
        rows, broken = tables.read_table(path, columns.values(), delimiter="|")
        problems += broken
        for where, fields in rows:
            id, folder, signer, text = (
                fields[columns[name]] for name in ("id", "folder", "signer", "glosses")
            )
            # '<folder>/1/*.png' is a pattern of file names.
            source = pictures / re.sub(r"/\*\.\w+$", "", folder)
            glosses = tuple(text.split())
            if not glosses:
                problems.append(f"{where}: no glosses")
                continue
            records.append(
                Record(split, id, glosses, where, signer, source=source, fps=_PHOENIX_FPS)
            )
    return records, problems


def check_sources(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Returns the records whose source exists, and a problem for each of the others."""
    found, problems = [], []
    for record in records:
        source = record.source
        if source is None:
            found.append(record)
        elif source.is_file():
            try:
                check_fetched(source)
                found.append(record)
            except WSignError as error:
                problems.append(f"{record.where}: {error}")
        elif not source.is_dir():
            problems.append(f"{record.where}: {source} is missing")
        elif not video.pictures_in(source):
            problems.append(f"{record.where}: {source} has no pictures in it")
        else:
            found.append(record)
    return found, problems


def to_keypoints(
    positions: np.ndarray, present: np.ndarray, times: np.ndarray, aspect: float, swap_hands: bool
) -> Keypoints:
    """Converts keypoints of another tool to this project's units.

    Args:
        positions: (t, 42, 3), x and z in image widths, y in image heights.
        present: (t, 2) bool.
        times: (t,) seconds.
        aspect: width / height of the pictures; 1 if y is in image widths already.
        swap_hands: exchanges left and right, for data from the legacy MediaPipe API, which assumed
            that every picture was mirrored.
    """
    if swap_hands:
        positions = np.concatenate([positions[:, joints.RIGHT], positions[:, joints.LEFT]], axis=1)
        present = present[:, ::-1]
    positions = positions / np.array([1.0, aspect, 1.0])
    return Keypoints(positions, present.astype(np.float64), times)


def seen_where_not_zero(positions: np.ndarray) -> np.ndarray:
    """Returns the seen hands (t, 2) bool of positions (t, 42, 3).

    A hand is absent if all its numbers are zeros, or if one of them is not plausible for a keypoint.
    """
    hands = positions.reshape(len(positions), 2, -1)
    return np.logical_and(joints.plausible(hands).all(-1), hands.any(-1))


class KnownValue(NamedTuple, Generic[Value]):
    """A rate or an aspect, and how it is known."""

    value: Value  # None: each clip has its own
    why: str  # GIVEN, ASSUMED or words for what it was guessed from


def frame_rate(fps: float | None) -> KnownValue[float]:
    """Returns the rate of keypoints: `--fps` if it is given, otherwise 30 frames a second.

    Raises:
        WSignError: it is not a number over 0, or no camera's.
    """
    if fps is None:
        return KnownValue(FPS, ASSUMED)
    if not 0 < fps <= _MOST_FPS:
        raise WSignError(f"--fps={fps:g}: give a number over 0, up to {_MOST_FPS:g}")
    return KnownValue(fps, GIVEN)


def recorded_as(
    fps: KnownValue[Any], aspects: Mapping[str, KnownValue[Any]]
) -> tuple[dict[str, object], list[str]]:
    """Says how keypoints were recorded.

    Args:
        fps: their rate.
        aspects: width / height of the pictures of each folder.

    Returns:
        `Corpus.recorded`, and lines that say what was guessed or assumed.
    """
    names_of: dict[KnownValue[Any], list[str]] = {}
    for name, aspect in aspects.items():
        names_of.setdefault(aspect, []).append(name)
    lines = []
    if fps.why != GIVEN:
        lines.append(f"frames a second: {fps.value:g}, {fps.why}; --fps=N says otherwise")
    for aspect, names in names_of.items():
        if aspect.value is not None and aspect.why != GIVEN:
            shape = fractions.Fraction(aspect.value).limit_denominator(20)
            where = "" if len(names_of) == 1 else f" of {', '.join(names)}"
            lines.append(
                f"width / height of the pictures{where}: {shape}, {aspect.why}; --aspect=W/H says "
                "otherwise"
            )
    values = {name: aspect._asdict() for name, aspect in aspects.items()}
    aspect_of = values if len(names_of) > 1 else next(iter(values.values()))
    return {"fps": fps._asdict(), "aspect": aspect_of}, lines


def videos_below(root: pathlib.Path) -> list[pathlib.Path]:
    """Lists all videos in a folder and its subfolders, by path.

    Raises:
        WSignError: the folder is missing, or has no videos.
    """
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    videos = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in video.VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    if not videos:
        raise WSignError(f"{root}: no videos in it; name the corpus's folder with --root=DIR")
    return sorted(videos)


def check_aspect(value: float) -> None:
    """Raises a `WSignError` if `--aspect` is not plausible as a picture's width / height."""
    least, most = joints.ASPECTS
    if not least <= value <= most:
        raise WSignError(f"--aspect={value}: give width / height, from {least:g} to {most:g}")


def parse_aspect(text: str) -> float:
    """Returns 1.333 for '640/480' or '1.333'; for command lines.

    Raises:
        argparse.ArgumentTypeError: the text has neither form.
    """
    width, _, height = text.partition("/")
    try:
        return float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give width / height, such as 4/3 or 1.333"
        ) from None

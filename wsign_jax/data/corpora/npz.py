"""Keypoints from another tool: a .npz of clips for every gloss, or of sentences.

<gloss>.npz   keypoints  (N, T, 42, 3), or all clips one after another (sum of T, 42, 3) with `lengths`
              lengths    (N,) frames of every clip, if they differ
              present    (N, T, 2) or (sum of T, 2), left and right hand; without it a hand that is all
                         zeros or NaN is absent
              glosses    (N,) glosses separated by spaces; without it the file's name is the gloss
              signer     (N,); session (N,); id (N,); split (N,): train, val or test
              fps        (N,) or (): frames a second; without it --fps, or 30
              aspect     (N,) or (): width / height of the pictures that y is a share of, 1 if y is in
                         widths; without it --aspect, or 4/3
              segments   (sum of glosses, 2) start and end of every gloss in seconds
Only `keypoints` is required. Files whose names begin with '_' are left out.
"""

import functools
import pathlib
import sys
from collections.abc import Mapping

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data import validate
from wsign_jax.data.corpora import records
from wsign_jax.data.corpora.records import ASSUMED, GIVEN, Corpus, Keypoints, KnownValue, Record
from wsign_jax.keypoints import joints

_TEXTS = ("glosses", "signer", "session", "id", "split")


def read(
    root: pathlib.Path,
    fps: float | None = None,
    aspect: float | None = None,
    swap_hands: bool = False,
) -> Corpus:
    """Reads all files; their arrays stay in memory as long as their records do.

    Args:
        root: the folder of the .npz files.
        fps: the keypoints' rate where a file has none.
        aspect: width / height of the pictures, if y is in image heights and the file does not say; 1
            changes nothing.
        swap_hands: exchanges left and right, for data from the legacy MediaPipe API.

    Raises:
        WSignError: the folder has no .npz, or an option is out of range.
    """
    records.frame_rate(fps)
    records.check_aspect(1.0 if aspect is None else aspect)
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name the corpus's with --root=DIR")
    paths = sorted(path for path in root.glob("*.npz") if path.name[0] != ".")
    if not paths:
        raise WSignError(f"{root}: no .npz in it; name the folder of the files with --root=DIR")
    found: list[Record] = []
    problems: list[str] = []
    left_out = [path.name for path in paths if path.name.startswith("_") and path.stem != "_"]
    usual = {"fps": fps or records.FPS, "aspect": aspect or records.ASPECT}
    lacking: dict[str, bool] = dict.fromkeys(usual, False)
    for path in paths:
        if path.name in left_out:
            continue
        try:
            arrays = _load(path)
            found += _read_file(path, arrays, usual, swap_hands)
        except WSignError as error:
            problems.append(str(error))
            continue
        for name in usual:
            lacking[name] |= name not in arrays
    notes = [f"left out {', '.join(left_out)}"] if left_out else []
    rate, picture = (
        KnownValue(
            usual[name] if lacking[name] else None,
            GIVEN if option or not lacking[name] else ASSUMED,
        )
        for name, option in (("fps", fps), ("aspect", aspect))
    )
    recorded, lines = records.recorded_as(rate, {"": picture})
    return Corpus("npz", tuple(found), tuple(problems), (*notes, *lines), recorded=recorded)


def _read_file(
    path: pathlib.Path, arrays: dict[str, np.ndarray], usual: Mapping[str, float], swap_hands: bool
) -> list[Record]:
    positions, present, lengths = _clips(path, arrays)
    count = len(lengths)
    texts = {name: _texts(path, arrays, name, count) for name in _TEXTS}
    rates, aspects = (_numbers(path, arrays, name, count, usual[name]) for name in usual)
    glosses_of = [tuple(text.split()) or records.glosses_of(path.stem) for text in texts["glosses"]]
    segments = _segments(path, arrays, [len(glosses) for glosses in glosses_of])
    ends = np.cumsum(lengths)
    clips = []
    for number, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        rows = slice(end - length, end)
        load = functools.partial(
            _keypoints, positions[rows], present[rows], rates[number], aspects[number], swap_hands
        )
        _, signer, session, id, text = (texts[name][number] for name in _TEXTS)
        if (split := records.split_of(text)) is None:
            raise WSignError(f"{path}: split {text!r} of clip {number}; write train, val or test")
        clips.append(
            Record(
                split,
                id or f"{path.stem}_{number:05d}",
                glosses_of[number],
                f"{path}: clip {number}",
                signer,
                session,
                keypoints=load,
                segments=segments[number],
            )
        )
    return clips


def _numbers(
    path: pathlib.Path, arrays: dict[str, np.ndarray], name: str, count: int, usual: float
) -> list[float]:
    """Returns the rate or the aspect of each clip."""
    array = arrays.get(name, np.array(usual))
    least, most = joints.ASPECTS if name == "aspect" else (1e-3, 1e5)
    good = array.shape in ((), (count,)) and array.dtype.kind in "iuf"
    if not good or not ((array >= least) & (array <= most)).all():
        raise WSignError(
            f"{path}: {name} {array.dtype}{list(array.shape)} is not numbers ({count},), one a clip, "
            f"from {least:g} to {most:g}"
        )
    return np.broadcast_to(array.astype(np.float64), (count,)).tolist()


def _segments(
    path: pathlib.Path, arrays: dict[str, np.ndarray], counts: list[int]
) -> list[tuple[tuple[float, float], ...] | None]:
    """Returns the start and end of the glosses of each clip, which have `counts` of them."""
    if "segments" not in arrays:
        return [None] * len(counts)
    array = arrays["segments"]
    if (
        array.shape != (sum(counts), 2)
        or array.dtype.kind not in "iuf"
        or not np.isfinite(array).all()
        or not ((array[:, 0] >= 0) & (array[:, 0] <= array[:, 1])).all()
    ):
        raise WSignError(
            f"{path}: segments {array.dtype}{list(array.shape)} are not seconds ({sum(counts)}, 2), "
            "a row for each gloss"
        )
    rows = [(float(start), float(end)) for start, end in array]
    ends = np.cumsum(counts).tolist()
    return [tuple(rows[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def _keypoints(
    positions: np.ndarray, present: np.ndarray, fps: float, aspect: float, swap_hands: bool
) -> Keypoints:
    times = np.arange(len(positions)) / fps
    return records.to_keypoints(positions.astype(np.float64), present, times, aspect, swap_hands)


def _load(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            size = sum(member.file_size for member in archive.zip.infolist())
            if size > validate.MOST_BYTES:
                raise ValueError(f"unpacks to over {validate.MOST_BYTES >> 20} MiB")
            # A member that is no .npy is read as bytes.
            arrays = {name: array for name, array in archive.items() if hasattr(array, "dtype")}
    except Exception as error:  # damage can raise almost anything
        records.check_fetched(path)
        raise WSignError(f"{path}: {validate.unreadable_reason(error)}; save it again") from None
    if "keypoints" not in arrays:
        raise WSignError(f"{path}: no array 'keypoints' in it, only {', '.join(arrays) or 'none'}")
    return arrays


def _clips(
    path: pathlib.Path, arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Returns positions (sum of T, 42, 3) and present (sum of T, 2) of all clips, and each clip's T."""
    keypoints = arrays["keypoints"]
    good = keypoints.shape[-2:] == (joints.NUM_JOINTS, 3) and keypoints.dtype.kind == "f"
    if keypoints.ndim == 4 and good:
        lengths = [keypoints.shape[1]] * len(keypoints)
        keypoints = keypoints.reshape(-1, joints.NUM_JOINTS, 3)
    elif "lengths" in arrays and arrays["lengths"].dtype.kind in "iu":
        lengths = arrays["lengths"].ravel().tolist()
    else:
        lengths = []
    if (
        not good
        or keypoints.ndim != 3
        or sum(lengths) != len(keypoints)
        or min(lengths, default=0) < 1
    ):
        raise WSignError(
            f"{path}: keypoints {arrays['keypoints'].dtype}{list(arrays['keypoints'].shape)} are not "
            "floats (N, T, 42, 3), nor (sum of lengths, 42, 3)"
        )
    if "present" not in arrays:
        return keypoints, records.seen_where_not_zero(keypoints), lengths
    present = arrays["present"]
    if (
        present.size != 2 * len(keypoints)
        or present.shape[-1] != 2
        or present.dtype.kind not in "biuf"
    ):
        raise WSignError(
            f"{path}: present {present.dtype}{list(present.shape)} is not numbers (N, T, 2)"
        )
    good_hands = joints.plausible(keypoints.reshape(len(keypoints), 2, -1)).all(-1)
    return keypoints, (present.reshape(-1, 2) > 0) & good_hands, lengths


def _texts(path: pathlib.Path, arrays: dict[str, np.ndarray], name: str, count: int) -> list[str]:
    if name not in arrays:
        return [""] * count
    array = arrays[name]
    if array.shape != (count,):
        raise WSignError(f"{path}: {name} {list(array.shape)} is not ({count},), one a clip")
    if array.dtype.kind not in "Uiu":
        raise WSignError(f"{path}: {name} is {array.dtype}, not text; save it as an array of str")
    if array.dtype.kind == "U" and array.dtype.itemsize:
        codes = array.astype(array.dtype.newbyteorder("=")).view(np.uint32)
        if (codes > sys.maxunicode).any():  # Python would crash on them later
            raise WSignError(f"{path}: {name} is not Unicode text; save it again")
    return [str(value) for value in array]

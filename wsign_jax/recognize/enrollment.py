"""Signs that a person has added to a model by a few recordings, without training.

`RUN/enrolled.npz` holds them, without pickles:

    format    () int
    digest    () str: of the vocabulary; the file is refused for a model with another one
    names     (S,) str; signs (R,) int, each recording's index into them
    vectors   (R, WIDTH) float32, frames (R,) int, ways (R,) float32: see `decode/prototypes.py`
"""

import hashlib
import io
import json
import pathlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.arrays import parse_npz
from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data.vocab import BLANK, Vocabulary
from wsign_jax.decode import prototypes
from wsign_jax.decode.prototypes import Prototypes
from wsign_jax.decode.transcript import UNKNOWN
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames, find_movement, frames_between

ENROLLED = "enrolled.npz"  # in a run's folder
MOST_RECORDINGS = 20  # of a sign
_FORMAT = 1
_MEMBERS = {"format", "digest", "names", "signs", "vectors", "frames", "ways"}
_MOST_SIGNS, _MOST_LETTERS = 1000, 200
_MOST_BYTES = 256 * 2**20
_SHORTEST, _LONGEST = 0.6, 6.0  # seconds of a sign
_PAUSE = 1.0  # seconds at rest or out of sight that part two signs
# Cosines. The least at which a window is a sign, and more for signs of a hand that is nearly still,
# which others resemble; see the README.
THRESHOLD, _MORE_IF_STILL = 0.65, 0.15
_STILL = 1.0  # lengths of the hand, of its way
_ODD = 0.2  # below it, recordings are not of one sign
_FARTHEST = (
    0.4  # by which a recording may resemble the others less than they do each other, on average
)
_SAME = 0.9  # of recordings of two signs that look the same
_CONFUSED = 0.4  # share of two signs' recordings that are nearer to the other sign

# (k, WIDTH) vectors, (k,) frames and ways of a sign's k recordings.
_Arrays: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


class Enrolled:
    """The enrolled signs of a model: vectors, frames and ways of each sign's recordings."""

    def __init__(self, vocabulary: Vocabulary):
        """Begins without any sign; `vocabulary` is the model's own."""
        self._digest = _digest(vocabulary)
        self._signs: dict[str, _Arrays] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The enrolled signs, in the order of their enrollment."""
        return tuple(self._signs)

    def counts(self) -> dict[str, int]:
        """Returns the number of recordings of each sign."""
        return {name: len(frames) for name, (_, frames, _) in self._signs.items()}

    def check_name(self, name: str, count: int, vocabulary: Vocabulary, replace: bool) -> None:
        """Refuses what is known before its `count` recordings are read.

        Raises:
            WSignError: the name cannot be one or is taken, or there are too many recordings or none.
        """
        if not isinstance(name, str):
            raise WSignError(f"the sign's name is {shown(name)}; give text")
        _check_sign(name)
        if not 1 <= count <= MOST_RECORDINGS:
            raise WSignError(
                f"{name!r}: {count} recordings; give 1 to {MOST_RECORDINGS} of the sign"
            )
        known = self.spelling(name, vocabulary)
        if not replace and known in self._signs:
            raise WSignError(
                f"{known!r} is enrolled already; to record it anew, give --replace (replace=True in "
                "Python)"
            )
        if not replace and known in vocabulary.ids:
            raise WSignError(
                f"{name!r}: the model knows {known!r}; to add a way of signing it, give --replace "
                "(replace=True in Python)"
            )

    def spelling(self, name: str, vocabulary: Vocabulary) -> str:
        """Returns a name as the model or an enrolled sign has it, if only capitals differ."""
        known = [*self._signs, *vocabulary.ids]
        alike = [other for other in known if other.casefold() == name.casefold()]
        return name if name in alike or not alike else alike[0]

    def with_sign(
        self, name: str, recordings: Sequence[Frames], labels: Sequence[str]
    ) -> "Enrolled":
        """Returns these signs and one more, which replaces one of its name.

        `labels` name the recordings in messages.

        Raises:
            WSignError: a recording shows no hand, is too short or long, or has two signs; they do not
                resemble each other; or it cannot be told from a sign that is enrolled already.
        """
        found = [_embed(frames, label) for frames, label in zip(recordings, labels, strict=True)]
        vectors, durations, ways = (np.array(x) for x in zip(*found, strict=True))
        mirrored, vectors = vectors[:, 1], vectors[:, 0]
        # All by the hand of the first.
        turned = mirrored @ vectors[0] > vectors @ vectors[0]
        vectors = np.where(turned[:, None], mirrored, vectors)
        _check_alike(name, vectors, labels)
        others = self.without(name) if name in self._signs else self
        for other, (known, *_) in others._signs.items():
            _check_apart(name, vectors, other, known)
        if len(others._signs) >= _MOST_SIGNS:
            raise WSignError(f"{name!r}: {_MOST_SIGNS} signs are enrolled, the most; forget one")
        return others._copy(
            {**others._signs, str(name): (vectors, durations, ways.astype(np.float32))}
        )

    def without(self, name: str) -> "Enrolled":
        """Returns these signs without one.

        Raises:
            WSignError: it is not enrolled.
        """
        if not isinstance(name, str) or name not in self._signs:
            known = ", ".join(map(repr, self._signs)) or "no sign"
            raise WSignError(f"{shown(name)} is not enrolled; there is {known}")
        return self._copy({other: kept for other, kept in self._signs.items() if other != name})

    def prototypes(self) -> Prototypes | None:
        """Returns what a `Spotter` compares with; None without a sign."""
        if not self._signs:
            return None
        vectors, frames, ways = (np.concatenate(x) for x in zip(*self._signs.values(), strict=True))
        counts = list(self.counts().values())
        signs = np.repeat(np.arange(len(counts)), counts)
        still = [np.median(ways[signs == sign]) < _STILL for sign in range(len(counts))]
        thresholds = THRESHOLD + _MORE_IF_STILL * np.array(still)
        return Prototypes(self.names, signs, vectors, frames, ways, thresholds)

    def to_bytes(self) -> bytes:
        """Returns the content of `enrolled.npz`."""
        memory = io.BytesIO()
        none = np.zeros(0)
        known = self.prototypes() or Prototypes(
            (), none, np.zeros((0, prototypes.WIDTH)), none, none, none
        )
        np.savez(
            memory,
            format=np.int64(_FORMAT),
            digest=np.str_(self._digest),
            names=np.array(self.names, np.str_),
            signs=known.signs.astype(np.int64),
            vectors=known.vectors.astype(np.float32),
            frames=known.frames.astype(np.int64),
            ways=known.ways.astype(np.float32),
        )
        return memory.getvalue()

    def from_bytes(self, content: bytes, where: str) -> "Enrolled":
        """Returns the signs of an `enrolled.npz` for the same vocabulary; `where` names it.

        Raises:
            WSignError: it is damaged, was enrolled for another model, or a newer version wrote it.
        """
        again = f"enroll again, with {where} moved away"
        try:
            arrays = parse_npz(content, _MEMBERS, _MOST_BYTES)
            format_, digest = int(arrays["format"]), str(arrays["digest"])
        except Exception as error:  # zipfile and numpy raise almost anything at a damaged file
            raise WSignError(f"{where}: damaged ({type(error).__name__}); {again}") from None
        if format_ != _FORMAT:
            raise WSignError(
                f"{where}: a newer version of this project wrote it; update the project"
            )
        if digest != self._digest:
            raise WSignError(f"{where}: was enrolled for another model, of other glosses; {again}")
        try:
            return self._copy(_checked(arrays))
        except Exception as error:
            what = error if isinstance(error, WSignError) else type(error).__name__
            raise WSignError(f"{where}: damaged ({what}); {again}") from None

    def _copy(self, signs: dict[str, _Arrays]) -> "Enrolled":
        new = object.__new__(Enrolled)
        new._digest, new._signs = self._digest, signs
        return new


def read(path: pathlib.Path, vocabulary: Vocabulary) -> Enrolled:
    """Reads a run's `enrolled.npz`; a missing one holds no sign. Raises as `Enrolled.from_bytes`."""
    empty = Enrolled(vocabulary)
    if not path.exists():
        return empty
    if path.stat().st_size > _MOST_BYTES:
        raise WSignError(
            f"{path}: larger than {_MOST_BYTES >> 20} MiB; move it away, and enroll again"
        )
    return empty.from_bytes(path.read_bytes(), str(path))


def _digest(vocabulary: Vocabulary) -> str:
    content = json.dumps([*vocabulary.names], ensure_ascii=True).encode()
    return hashlib.sha256(content).hexdigest()


def _check_sign(name: str) -> str:
    """Returns the name of a sign; raises a `WSignError` if it cannot be one."""
    if name in (BLANK, UNKNOWN):
        raise WSignError(f"{name!r} cannot be a sign's name; choose another")
    if len(name) > _MOST_LETTERS:
        raise WSignError(
            f"{name[:20]!r}...: a sign's name of over {_MOST_LETTERS} letters; shorten it"
        )
    return files.check_line(name, "sign")


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, _Arrays]:
    """Returns the signs in the arrays of a file; raises anything if they do not fit each other."""
    names = [_check_sign(str(name)) for name in arrays["names"].ravel()]
    signs, vectors, frames, ways = (arrays[x] for x in ("signs", "vectors", "frames", "ways"))
    limit = round(_LONGEST * joints.FPS)
    good = (
        len({*names}) == len(names) <= _MOST_SIGNS
        and signs.shape == frames.shape == ways.shape == vectors.shape[:1]
        and vectors.shape[1:] == (prototypes.WIDTH,)
        and vectors.dtype == ways.dtype == np.float32
        and signs.dtype == frames.dtype == np.int64
        and [*np.unique(signs)] == [*range(len(names))]
        and bool(((frames >= 2) & (frames <= limit)).all())
        and bool(np.isfinite(vectors).all() and (np.linalg.norm(vectors, axis=1) < 1.01).all())
        and bool(((ways >= 0) & (ways < 1e6)).all())
    )
    if not good:
        raise WSignError("its arrays do not fit each other")
    return {
        name: (vectors[signs == number], frames[signs == number], ways[signs == number])
        for number, name in enumerate(names)
    }


# ---------------------------------------------------------------------------------------- recordings


def _embed(frames: Frames, label: str) -> tuple[np.ndarray, int, float]:
    """Returns the embedding (2, WIDTH) of the sign in a recording, its frames and its way."""
    begin, end = find_sign(frames, label)
    directions = prototypes.bone_directions(frames_between(frames, begin, end))
    vectors = prototypes.embed(directions, np.array([end - begin]))[0]
    return vectors, end - begin, prototypes.sum_ways(frames, begin, end)


def find_sign(frames: Frames, label: str) -> tuple[int, int]:
    """Returns the frames from the first to after the last in which the hands sign.

    Frames without a hand, and those at both ends in which the hands rest, are left out. A hand shape
    that is held still all the time is a sign too.

    Raises:
        WSignError: see `Enrolled.with_sign`.
    """
    (seen,) = np.nonzero(frames.confidence.any(axis=1))
    if not len(seen):
        raise WSignError(
            f"{label}: no hand is seen in it; record the sign again, hands in the picture"
        )
    (moves,) = np.nonzero(np.pad(find_movement(frames), 1))
    active = moves if len(moves) else seen
    gaps = np.diff(active)
    long = np.flatnonzero(gaps > _PAUSE * joints.FPS)
    # A twitch is no sign.
    parts = [part for part in np.split(active, long + 1) if len(part) > _SHORTEST / 2 * joints.FPS]
    if len(parts) > 1:
        at = [f"{part[0] / joints.FPS:.1f} s" for part in parts]
        raise WSignError(
            f"{label}: has {len(parts)} signs, at {', '.join(at)}; cut it, and give one sign a recording"
        )
    active = parts[0] if parts else active
    begin = max(int(active[0]) - prototypes.MARGIN, int(seen[0]))
    end = min(int(active[-1]) + 1 + prototypes.MARGIN, int(seen[-1]) + 1)
    if end - begin < _SHORTEST * joints.FPS:  # all of it moves little
        begin, end = int(seen[0]), int(seen[-1]) + 1
    seconds = (end - begin) / joints.FPS
    if not _SHORTEST <= seconds <= _LONGEST:
        raise WSignError(
            f"{label}: the sign in it takes {seconds:.1f} s; give one sign, of {_SHORTEST:g} to "
            f"{_LONGEST:g} s"
        )
    return begin, end


def _check_alike(name: str, vectors: np.ndarray, labels: Sequence[str]) -> None:
    """Refuses recordings of which one resembles the others far less than they resemble each other."""
    if len(vectors) < 2:
        return
    count, cosines = len(vectors), vectors @ vectors.T
    np.fill_diagonal(cosines, 0.0)
    if cosines.max() < _ODD:
        raise WSignError(
            f"{name!r}: its recordings do not resemble each other (cosines up to {cosines.max():.2f}, "
            f"and {_ODD:g} is the least); are they all of one sign?"
        )
    if count < 3:
        return
    # Means, because of many people's recordings each resembles some, and only some, of the others.
    sums = cosines.sum(axis=1)
    odd = int(sums.argmin())
    its = float(sums[odd]) / (count - 1)
    usual = float(sums.sum() - 2 * sums[odd]) / ((count - 1) * (count - 2))
    if its < usual - _FARTHEST:
        raise WSignError(
            f"{labels[odd]}: does not resemble the other recordings of {name!r} (mean cosine "
            f"{its:.2f}, and theirs is {usual:.2f}); leave it out, or record it again"
        )


def _check_apart(name: str, vectors: np.ndarray, other: str, known: np.ndarray) -> None:
    """Refuses two signs whose recordings are often nearer to those of the other sign."""
    both = np.concatenate([vectors, known])
    is_new = np.arange(len(both)) < len(vectors)
    cosines = both @ both.T
    np.fill_diagonal(cosines, -1.0)
    same = is_new[:, None] == is_new[None]
    own = np.where(same, cosines, -1.0).max(axis=1)
    across = np.where(same, -1.0, cosines).max(axis=1)
    # A sign's only recording has none of its own to be near to.
    wrong = (across > own) & ((own > -1.0) | (across > _SAME))
    if wrong.mean() >= _CONFUSED:
        raise WSignError(
            f"{name!r} and {other!r} cannot be told apart: {int(wrong.sum())} of {len(both)} recordings "
            "are nearer to the other sign; record them more clearly, or forget one"
        )

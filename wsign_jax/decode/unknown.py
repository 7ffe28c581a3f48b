"""Tells signs that a model does not know, by how familiar its posteriors look. Numpy only.

Its confidence does not tell: a network is often sure of a gloss for a sign that it never saw. So the log
posteriors of all glosses, averaged over the span, are compared with those that validation has for that
gloss: minus the squared Mahalanobis distance to the gloss's mean, with one covariance for all glosses
(Lee et al. 2018, arXiv:1807.03888), plus that to the mean of all (Ren et al. 2021, arXiv:2106.09022).

`RUN/known_signs.npz` holds the means and inverse covariances, without pickles.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wsign_jax.common.arrays import parse_npz
from wsign_jax.common.errors import WSignError

KNOWN_SIGNS = "known_signs.npz"  # in a run's folder
_FORMAT = 1
LEAST = -20.0  # log posteriors below count as this one
# Patches at the end of a span that count, so that a stream need not remember more. CTC's are shorter.
LONGEST = 64
_SHRINKING = 0.1  # of a covariance, toward a multiple of the identity
_NOISE = 1e-3  # added to every variance, so that few examples have an inverse too
_MOST_BYTES = 2**30


class Familiarity(NamedTuple):
    """The looks of spans of V ids: normal distributions of vectors of V log posteriors."""

    means: np.ndarray  # (V, V) float32, a gloss's in its row; zeros if it has no example
    seen: np.ndarray  # (V,) bool: which have an example
    center: np.ndarray  # (V,) float32 mean of all vectors
    within: np.ndarray  # (V, V) float32 inverse of the covariance around the glosses' means
    around: np.ndarray  # (V, V) float32 inverse of the covariance around the center

    def scores(self, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Returns how familiar (n, V) vectors are as spans of glosses (n,): (n,) float64.

        It is infinity for a gloss without an example, and -infinity for a vector of NaN.
        """
        own = _squares(vectors - self.means[ids], self.within)
        scores = _squares(vectors - self.center, self.around) - own
        scores = np.where(self.seen[ids], scores, np.inf)
        return np.where(np.isnan(vectors).any(axis=-1), -np.inf, scores)


class KnownSigns(NamedTuple):
    """The familiarity of a run's glosses, and that for judging: without a third of the outputs."""

    own: Familiarity
    held_out: Familiarity


class UnknownRule(NamedTuple):
    """A gloss is unknown if its span is less familiar than a threshold."""

    familiarity: Familiarity
    below: float

    def find_unknown(
        self, log_probs: np.ndarray, starts: np.ndarray, ends: np.ndarray, ids: Sequence[int]
    ) -> np.ndarray:
        """Returns which of a recording's glosses are unknown, (U,) bool; see `span_vectors`."""
        vectors = span_vectors(log_probs, starts, ends)
        return self.familiarity.scores(vectors, np.asarray(ids, np.int64)) < self.below


def span_vectors(log_probs: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the mean log posteriors of spans: (U, V) float64, NaN where a span is empty.

    `log_probs` are (N, V); spans are from patches `starts` (U,) to before `ends` (U,).
    """
    vectors = np.full((len(starts), log_probs.shape[1]), np.nan)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        span = log_probs[max(start, end - LONGEST) : end]
        if len(span):
            vectors[row] = np.maximum(span, LEAST).mean(axis=0, dtype=np.float64)
    return vectors


def fit_familiarity(vectors: np.ndarray, ids: np.ndarray, size: int) -> Familiarity:
    """Fits the distributions to the vectors (n, V) of spans of glosses (n,); V is `size`."""
    counts = np.bincount(ids, minlength=size)
    sums = np.zeros((size, size))
    np.add.at(sums, ids, vectors)
    means = sums / np.maximum(counts, 1)[:, None]
    center = vectors.mean(axis=0) if len(vectors) else np.zeros(size)
    within = _inverse_covariance(vectors - means[ids], len(ids) - int(np.count_nonzero(counts)))
    around = _inverse_covariance(vectors - center, len(ids) - 1)
    return Familiarity(
        means.astype(np.float32),
        counts > 0,
        center.astype(np.float32),
        within.astype(np.float32),
        around.astype(np.float32),
    )


def _inverse_covariance(deviations: np.ndarray, freedom: int) -> np.ndarray:
    """Returns the inverse of the shrunken covariance of (n, V) deviations from a mean."""
    size = deviations.shape[1]
    covariance = deviations.T @ deviations / max(freedom, 1)
    usual = np.trace(covariance) / size
    return np.linalg.inv(
        (1 - _SHRINKING) * covariance + (_SHRINKING * usual + _NOISE) * np.eye(size)
    )


def _squares(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns v M v for each row v: (n,) float64."""
    return np.einsum("ni,ij,nj->n", vectors, matrix, vectors, optimize=True, dtype=np.float64)


class StreamedUnknown:
    """Finds a stream's unknown glosses as `UnknownRule` does with the whole recording."""

    def __init__(self, rule: UnknownRule, room: int):
        """Begins before the first patch; remembers at least `room` patches beside the longest span."""
        self._rule, self._room = rule, room + LONGEST
        self._numbers = np.zeros(0, np.int64)  # of the patches that are remembered
        self._log_probs = np.zeros((0, len(rule.familiarity.seen)), np.float32)

    def see(self, first: int, log_probs: np.ndarray) -> None:
        """Takes the next (n, V) log posteriors, whose first patch has the number `first`."""
        numbers = np.arange(first, first + len(log_probs))
        self._numbers = np.concatenate([self._numbers, numbers])[-self._room :]
        self._log_probs = np.concatenate([self._log_probs, log_probs])[-self._room :]

    def is_unknown(self, id: int, start: int, end: int) -> bool:
        """Returns whether a gloss is unknown that lies from patch `start` to before `end`."""
        starts, ends = np.searchsorted(self._numbers, [[start], [end]])
        return bool(self._rule.find_unknown(self._log_probs, starts, ends, [id])[0])


# ------------------------------------------------------------------------------------------- the file


def to_bytes(known: KnownSigns) -> bytes:
    """Returns the content of `known_signs.npz`."""
    memory = io.BytesIO()
    arrays = {
        f"{part}_{name}": array
        for part, familiarity in known._asdict().items()
        for name, array in familiarity._asdict().items()
    }
    np.savez(memory, format=np.int64(_FORMAT), **arrays)
    return memory.getvalue()


def from_bytes(content: bytes, size: int, where: str) -> KnownSigns:
    """Reads a `known_signs.npz` for V = `size` ids; `where` names it.

    Raises:
        WSignError: it is damaged, of another vocabulary, or a newer version wrote it.
    """
    again = "run tools/tune_decoder.py again"
    names = [f"{part}_{name}" for part in KnownSigns._fields for name in Familiarity._fields]
    try:
        arrays = parse_npz(content, {"format", *names}, _MOST_BYTES)
        format_ = int(arrays["format"])
    except Exception as error:  # zipfile and numpy raise almost anything at a damaged file
        raise WSignError(f"{where}: damaged ({type(error).__name__}); {again}") from None
    if format_ != _FORMAT:
        raise WSignError(f"{where}: a newer version of this project wrote it; update the project")
    square, row = (size, size), (size,)
    shapes = dict(zip(Familiarity._fields, (square, row, row, square, square), strict=True))
    for name in names:
        array, field = arrays[name], name.removeprefix("own_").removeprefix("held_out_")
        kind = np.bool_ if field == "seen" else np.float32
        if array.shape != shapes[field] or array.dtype != kind:
            raise WSignError(f"{where}: {name} is {array.dtype}{list(array.shape)}; {again}")
        if not np.isfinite(array).all():
            raise WSignError(f"{where}: {name} has NaN or infinity; {again}")
    own, held_out = (
        Familiarity(*(arrays[f"{part}_{name}"] for name in Familiarity._fields))
        for part in KnownSigns._fields
    )
    return KnownSigns(own, held_out)

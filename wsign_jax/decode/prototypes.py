"""Finds enrolled signs by the directions of the hands' bones, compared with recordings. Numpy only.

A sign's embedding is what its hands look like at sixteen points in time: for each hand the unit vectors
along 23 bones, zeros where the hand is absent, all of them as one unit vector. So neither the hand's
size and place in the picture nor the speed of signing matters. Two embeddings are compared by their
cosine, and also with one of them mirrored, because left-handed people sign with the other hand.

No network has a part in it: on signs that it was not trained on, an encoder's states told fewer apart
(README of `recognize`).
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from wsign_jax.decode.transcript import Gloss
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames

POINTS = 16  # of an embedding, evenly spaced in time
_CHAINS = [(joints.WRIST, *finger) for finger in joints.FINGERS]
_KNUCKLES = [finger[0] for finger in joints.FINGERS[1:]]
_BONES = np.array([pair for x in (*_CHAINS, _KNUCKLES) for pair in itertools.pairwise(x)])
WIDTH = POINTS * len(joints.HANDS) * len(_BONES) * 3
_HOP = 4  # frames from one window's end to the next
# The least and the most duration of a sign, as a multiple of its recording's.
_LEAST, _MOST = 0.6, 1 / 0.6
_LENGTHENING = 1.2  # from one length of windows to the next
# How fast a confidence goes from 0.5, at a sign's threshold, to 1 as the cosine grows.
_SOFTNESS = 0.03


class Prototypes(NamedTuple):
    """R recordings of S enrolled signs."""

    names: tuple[str, ...]  # (S,)
    signs: np.ndarray  # (R,) each recording's index into `names`
    vectors: np.ndarray  # (R, WIDTH) float32 embeddings
    frames: np.ndarray  # (R,) the durations of the signs in them
    thresholds: np.ndarray  # (S,) the least cosine at which it is that sign


class Sighting(NamedTuple):
    """An enrolled sign in frames from `begin` to before `end`."""

    sign: int
    begin: int
    end: int
    excess: float  # its cosine, less the sign's threshold


def bone_directions(frames: Frames) -> np.ndarray:
    """Returns (T, 2, WIDTH / POINTS) directions: as they are, and mirrored; zeros for absent hands."""
    positions, confidence = frames
    hands = positions.reshape(-1, len(joints.HANDS), joints.JOINTS_PER_HAND, 3)
    bones = hands[:, :, _BONES[:, 1]] - hands[:, :, _BONES[:, 0]]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    bones = np.where(confidence[:, :, None, None] > 0, bones / np.maximum(length, 1e-6), 0.0)
    mirrored = bones[:, ::-1] * np.array([-1, 1, 1])
    both = np.stack([bones, mirrored], axis=1)
    return both.reshape(len(positions), 2, -1).astype(np.float32)


def embed(directions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Embeds windows that end with the last of (T, 2, k) directions.

    `lengths` (L,) are the windows' in frames, from 2 to T.

    Returns:
        (L, 2, WIDTH) unit vectors, zeros without any hand: as it is, and mirrored.
    """
    steps = np.linspace(0.0, 1.0, POINTS)
    at = len(directions) - lengths[:, None] + steps * (lengths[:, None] - 1)
    before = np.minimum(at.astype(int), len(directions) - 2)
    weight = (at - before)[..., None, None].astype(np.float32)
    points = (1 - weight) * directions[before] + weight * directions[before + 1]
    vectors = points.transpose(0, 2, 1, 3).reshape(len(lengths), 2, WIDTH)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


class Spotter:
    """Finds sightings in frames as they come; how they are cut into pushes changes nothing.

    Windows of several lengths end at every fourth frame. Each is compared with the recordings that
    lasted about as long. The best window above its threshold is a sighting once half its length has gone
    by without a better one. Sightings do not overlap.
    """

    def __init__(self, prototypes: Prototypes):
        """Begins before the first frame."""
        self._known = prototypes
        shortest, longest = prototypes.frames.min() * _LEAST, prototypes.frames.max() * _MOST
        count = math.ceil(math.log(longest / shortest, _LENGTHENING))
        lengths = shortest * _LENGTHENING ** np.arange(count + 1)
        self._lengths = np.unique(np.maximum(np.round(lengths / _HOP).astype(int), 1) * _HOP)
        ratio = self._lengths[:, None] / prototypes.frames
        self._comparable = (ratio >= _LEAST) & (ratio <= _MOST)  # (L, R)
        self._latest = np.zeros((0, 2, WIDTH // POINTS), np.float32)  # directions of frames
        self._total = self._end = 0  # frames that came, and that a window ended with
        self._free = 0  # the first frame after the last sighting
        self._best: Sighting | None = None

    @property
    def settled(self) -> int:
        """The frame before which no sighting begins that is not known yet."""
        earliest = self._end + 1 - int(self._lengths[-1])
        return max(self._free, earliest if self._best is None else min(earliest, self._best.begin))

    def see(self, frames: Frames) -> list[Sighting]:
        """Takes the next frames, and returns the sightings that are sure now."""
        self._latest = np.concatenate([self._latest, bone_directions(frames)])
        self._total += len(frames.confidence)
        found = []
        while self._end + _HOP <= self._total:
            found += self._compare(self._end + _HOP)
        self._latest = self._latest[-int(self._lengths[-1]) - _HOP :]
        return found

    def finish(self) -> list[Sighting]:
        """Ends the recording, and returns the sightings that become sure by that."""
        found = self._compare(self._total) if self._total > self._end else []
        return found + self._settle()

    def _compare(self, end: int) -> list[Sighting]:
        """Compares the windows that end before the frame `end`."""
        self._end = end
        known = self._known
        directions = self._latest[: len(self._latest) - self._total + end]
        lengths = self._lengths[self._lengths <= min(end - self._free, len(directions))]
        found: list[Sighting] = []
        if len(lengths) and directions.any():
            cosines = (embed(directions, lengths) @ known.vectors.T).max(axis=1)  # (L, R)
            excess = cosines - known.thresholds[known.signs]
            excess = np.where(self._comparable[: len(lengths)], excess, -np.inf)
            row, recording = np.unravel_index(excess.argmax(), excess.shape)
            new = Sighting(
                int(known.signs[recording]), end - int(lengths[row]), end, float(excess.max())
            )
            if new.excess >= 0:
                if self._best is not None and new.begin >= self._best.end:
                    found += self._settle()
                if self._best is None or new.excess > self._best.excess:
                    self._best = new
        if (
            self._best is not None
            and 2 * (end - self._best.end) >= self._best.end - self._best.begin
        ):
            found += self._settle()
        return found

    def _settle(self) -> list[Sighting]:
        best, self._best = self._best, None
        if best is None:
            return []
        self._free = best.end
        return [best]


class EnrolledSigns:
    """Puts the sightings of enrolled signs among the glosses that the network recognizes.

    A sighting takes the place of the glosses whose middle lies in it. A stream and the whole recording
    give the same glosses in the same order, that of their beginnings.
    """

    def __init__(self, prototypes: Prototypes):
        """Begins before the first frame."""
        self._names, self._spotter = prototypes.names, Spotter(prototypes)
        self._sightings: list[Gloss] = []  # that are sure
        self._waiting: list[Gloss] = []  # that a sighting may still replace, or come before

    @property
    def waiting(self) -> list[Gloss]:
        """The glosses that are not sure yet."""
        return self._waiting

    def see(self, frames: Frames) -> None:
        """Takes the next frames."""
        self._add(self._spotter.see(frames))

    def merge(self, glosses: list[Gloss], until: float) -> list[Gloss]:
        """Takes the network's next glosses, and returns what is sure now.

        Args:
            glosses: that the network's decoder will not change any more.
            until: seconds before which no gloss of the network will begin that was not given.
        """
        return self._sure(glosses, until, self._spotter.settled / joints.FPS)

    def finish(self, glosses: list[Gloss]) -> list[Gloss]:
        """Takes the network's last glosses, and returns all that are left."""
        self._add(self._spotter.finish())
        return self._sure(glosses, math.inf, math.inf)

    def _add(self, found: list[Sighting]) -> None:
        for sign, begin, end, excess in found:
            sure = 1 / (1 + math.exp(-excess / _SOFTNESS))
            times = begin / joints.FPS, end / joints.FPS
            self._sightings.append(Gloss(self._names[sign], *times, sure))

    def _sure(self, glosses: list[Gloss], until: float, settled: float) -> list[Gloss]:
        self._waiting += glosses
        rest = [
            gloss
            for gloss in self._waiting
            if not any(x.start <= _middle(gloss) < x.end for x in self._sightings)
        ]
        merged = sorted([*self._sightings, *rest], key=lambda gloss: gloss.start)
        # A sighting stays until the network's glosses in it have come.
        count = 0
        for gloss in merged:
            is_sighting = any(gloss is x for x in self._sightings)
            known = (gloss.end <= until) if is_sighting else (_middle(gloss) < settled)
            if not known or gloss.start >= min(until, settled):
                break
            count += 1
        out = merged[:count]
        self._sightings = [x for x in self._sightings if not any(x is y for y in out)]
        self._waiting = [x for x in rest if not any(x is y for y in out)]
        return out


def _middle(gloss: Gloss) -> float:
    return (gloss.start + gloss.end) / 2

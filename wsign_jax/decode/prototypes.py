"""Finds enrolled signs by the directions of the hands' bones, compared with recordings. Numpy only.

A sign's embedding is what its hands look like at sixteen points in time: for each hand the unit vectors
along 23 bones, less those of an average hand, zeros where the hand is absent, all of them as one unit
vector. So neither the hand's
size and place in the picture nor the speed of signing matters. Two embeddings are compared by their
cosine, and also with one of them mirrored, because left-handed people sign with the other hand.

No network has a part in it: on signs that it was not trained on, an encoder's states told fewer apart
(README of `recognize`).
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import (
    SMALLEST_HAND,
    Frames,
    concatenate,
    find_movement,
    frames_between,
    no_frames,
)

POINTS = 16  # of an embedding, evenly spaced in time
_CHAINS = [(joints.WRIST, *finger) for finger in joints.FINGERS]
_KNUCKLES = [finger[0] for finger in joints.FINGERS[1:]]
BONES = np.array([pair for x in (*_CHAINS, _KNUCKLES) for pair in itertools.pairwise(x)])
# The mean directions of a right hand's bones, x, y, z, in clips of three sign languages. Without
# subtracting them all hands resemble each other: 24 % instead of 6 % of other signs were taken for an
# enrolled one, where 10 % of the right ones are lost.
AVERAGE_HAND = np.array(
    [
        [0.3, -0.56, -0.01],
        [0.33, -0.62, -0.16],
        [0.29, -0.52, -0.21],
        [0.17, -0.43, -0.24],
        [0.27, -0.64, -0.23],
        [0.36, -0.4, -0.21],
        [0.24, -0.07, -0.11],
        [0.15, -0.04, -0.08],
        [0.26, -0.57, -0.3],
        [0.36, -0.32, -0.2],
        [0.2, 0.03, 0],
        [0.09, 0.01, -0.02],
        [0.24, -0.45, -0.36],
        [0.36, -0.28, -0.18],
        [0.2, 0.11, 0.1],
        [0.08, 0.07, 0.07],
        [0.21, -0.31, -0.4],
        [0.36, -0.27, -0.16],
        [0.22, 0, 0.08],
        [0.1, -0.02, 0.05],
        [-0.16, 0.34, -0.2],
        [-0.16, 0.52, -0.15],
        [-0.15, 0.59, -0.1],
    ]
)
WIDTH = POINTS * len(joints.HANDS) * len(BONES) * 3
_MIRROR = np.array([-1.0, 1.0, 1.0])
HOP = 4  # frames from one window's end to the next
# The least duration of a sign as a multiple of its recording's, and the least multiple of the other way
# round: of a window, and if hands are out of sight before and after. By short windows, other signs were
# taken for enrolled ones.
LEAST, LEAST_ALONE = 0.75, 0.6
_LENGTHENING = 1.2  # from one length of windows to the next
# How fast a confidence goes from 0.5, at a sign's threshold, to 1 as the cosine grows. If hands are out
# of sight before and after, there is less to choose from, and the threshold is lower.
SOFTNESS, SOFTNESS_ALONE, ALONE = 0.05, 0.02, 0.2
PAUSE = 30  # frames without a hand that end a sign
MARGIN = 6  # frames kept before the first movement of a sign, and after the last
STEP = 5  # frames over which a wrist's way is measured
# Of two ways, in lengths of a hand, the longer one is at most so many times the other if they are of the
# same sign. `STILL` is added to both, so that noise is none.
FARTHER, STILL = 2.5, 1.0


class Prototypes(NamedTuple):
    """R recordings of S enrolled signs."""

    names: tuple[str, ...]  # (S,)
    signs: np.ndarray  # (R,) each recording's index into `names`
    vectors: np.ndarray  # (R, WIDTH) float32 embeddings
    frames: np.ndarray  # (R,) the durations of the signs in them
    ways: np.ndarray  # (R,) how far a wrist goes in them, in lengths of a hand; see `wrist_ways`
    thresholds: np.ndarray  # (S,) the least cosine at which it is that sign


class Sighting(NamedTuple):
    """An enrolled sign in frames from `begin` to before `end`."""

    sign: int
    begin: int
    end: int
    confidence: float  # from 0.5 to 1
    is_alone: bool  # hands are out of sight before and after


def bone_directions(frames: Frames) -> np.ndarray:
    """Returns (T, 2, WIDTH / POINTS) directions, less the average hand's: as they are, and mirrored."""
    positions, confidence = frames
    hands = positions.reshape(-1, len(joints.HANDS), joints.JOINTS_PER_HAND, 3)
    bones = hands[:, :, BONES[:, 1]] - hands[:, :, BONES[:, 0]]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    average = np.stack([AVERAGE_HAND * _MIRROR, AVERAGE_HAND])
    bones = bones / np.maximum(length, 1e-6) - average
    bones = np.where(confidence[:, :, None, None] > 0, bones, 0.0)
    mirrored = bones[:, ::-1] * _MIRROR
    both = np.stack([bones, mirrored], axis=1)
    return both.reshape(len(positions), 2, WIDTH // POINTS).astype(np.float32)


def wrist_ways(frames: Frames) -> np.ndarray:
    """Returns how far each wrist goes in each frame but the first five: (T - 5, 2) lengths of the hand.

    It is 0 unless the hand is seen, and was five frames before. Window and recording of one sign go
    about as far, summed over their frames; a hand that hangs at rest looks like some signs, but comes
    and goes.
    """
    positions, confidence = frames
    hands = positions.reshape(-1, len(joints.HANDS), joints.JOINTS_PER_HAND, 3)
    wrists, seen = hands[:, :, joints.WRIST], confidence > 0
    length = np.linalg.norm(hands[:, :, joints.MIDDLE_KNUCKLE] - wrists, axis=-1)
    steps = np.linalg.norm(wrists[STEP:] - wrists[:-STEP], axis=-1) / STEP
    steady = seen[STEP:] & seen[:-STEP]
    return np.where(steady, steps / np.maximum(length[STEP:], SMALLEST_HAND), 0.0)


def sum_ways(frames: Frames, begin: int, end: int) -> float:
    """Returns the way of the wrist that goes farther in the frames from `begin` to before `end`."""
    known = concatenate([no_frames(STEP), frames])
    return float(wrist_ways(known)[begin:end].sum(axis=0).max())


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


def window_lengths(prototypes: Prototypes) -> np.ndarray:
    """Returns the lengths in frames of the windows that are compared with recordings, (L,) int."""
    shortest, longest = prototypes.frames.min() * LEAST, prototypes.frames.max() / LEAST
    count = math.ceil(math.log(longest / shortest, _LENGTHENING))
    lengths = shortest * _LENGTHENING ** np.arange(count + 1)
    return np.unique(np.maximum(np.round(lengths / HOP).astype(int), 1) * HOP)


def longest_alone(prototypes: Prototypes) -> int:
    """Returns the most frames that a sign may take before and after which hands are out of sight."""
    return math.ceil(prototypes.frames.max() / LEAST_ALONE)


class Spotter:
    """Finds sightings in frames as they come; how they are cut into pushes changes nothing.

    If the hands are out of sight before and after, and sign for about as long as a recording, that is
    compared as a whole. Otherwise windows of several lengths, which end at every fourth frame, are
    compared with the recordings that last about as long. The best window above its threshold is a
    sighting once half its length has gone by without a better one. Sightings do not overlap.
    """

    def __init__(self, prototypes: Prototypes):
        """Begins before the first frame."""
        self._known = prototypes
        self._lengths = window_lengths(prototypes)
        self._longest = longest_alone(prototypes)
        # Of the latest frames: directions, wrists' ways, and whether a hand is seen, and moves.
        self._latest = np.zeros((0, 2, WIDTH // POINTS), np.float32)
        self._ways = np.zeros((0, len(joints.HANDS)))
        self._seen = np.zeros((0, 2), bool)
        self._before = no_frames(STEP)
        self._total = self._end = 0  # frames that came, and that a window ended with
        self._free = 0  # the first frame after the last sighting
        self._best: Sighting | None = None
        # While hands are in sight: since when, until when, and what was found as long as it may be one
        # sign as a whole.
        self._begin: int | None = None
        self._until = 0
        self._is_short = False
        self._held: list[Sighting] = []

    @property
    def settled(self) -> int:
        """The frame before which no sighting begins that is not known yet."""
        earliest = max(self._free, self._end + 1 - int(self._lengths[-1]))
        if self._best is not None:
            earliest = min(earliest, self._best.begin)
        if self._begin is not None and self._is_short:
            earliest = min(earliest, self._begin)
        return earliest

    def see(self, frames: Frames) -> list[Sighting]:
        """Takes the next frames, and returns the sightings that are sure now."""
        count = len(frames.confidence)
        known = concatenate([self._before, frames])
        self._before = frames_between(known, -STEP, None)
        moves = find_movement(frames_between(known, STEP - 2, None))
        seen = np.stack([frames.confidence.any(axis=1), moves], axis=1)
        self._latest = np.concatenate([self._latest, bone_directions(frames)])
        self._ways = np.concatenate([self._ways, wrist_ways(known)])
        self._seen = np.concatenate([self._seen, seen])
        self._total += count
        found = []
        while self._end + HOP <= self._total:
            found += self._compare(self._end + HOP)
        kept = slice(-self._longest - PAUSE - 2 * HOP, None)
        self._latest, self._ways = self._latest[kept], self._ways[kept]
        self._seen = self._seen[kept]
        return found

    def finish(self) -> list[Sighting]:
        """Ends the recording, and returns the sightings that become sure by that."""
        found = self._compare(self._total) if self._total > self._end else []
        return found + self._settle() + self._end_of_hands()

    def _compare(self, end: int) -> list[Sighting]:
        """Compares the windows that end before the frame `end`."""
        first = len(self._seen) - self._total + self._end
        (seen,) = np.nonzero(self._seen[first : first + end - self._end, 0])
        if len(seen):
            if self._begin is None:
                self._begin, self._is_short = self._end + int(seen[0]), True
            self._until = self._end + int(seen[-1]) + 1
        self._end = end
        lengths = self._lengths[self._lengths <= end - self._free]
        new = self._nearest(lengths, end, alone=False)
        found: list[Sighting] = []
        if new is not None:
            if self._best is not None and new.begin >= self._best.end:
                found += self._settle()
            if self._best is None or new.confidence > self._best.confidence:
                self._best = new
        best = self._best
        if best is not None and 2 * (end - best.end) >= best.end - best.begin:
            found += self._settle()
        if self._begin is not None and self._until - self._begin > self._longest:
            self._is_short = False
            found, self._held = self._held + found, []
        if self._begin is not None and end - self._until >= PAUSE:
            found += self._settle() + self._end_of_hands()
        return found

    def _nearest(self, lengths: np.ndarray, end: int, alone: bool) -> Sighting | None:
        """Returns the best of the windows that end before a frame; None if none fits a sign.

        `alone`: hands are out of sight before the window and after.
        """
        ease, softness, least = 0.0, SOFTNESS, LEAST
        if alone:
            ease, softness, least = ALONE, SOFTNESS_ALONE, LEAST_ALONE
        known = self._known
        count = len(self._latest) - self._total + end
        directions, ways = self._latest[:count], self._ways[:count]
        lengths = lengths[lengths <= count]
        if not len(lengths) or not directions.any():
            return None
        cosines = (embed(directions, lengths) @ known.vectors.T).max(axis=1)  # (L, R)
        excess = cosines - known.thresholds[known.signs] + ease
        went = np.array([ways[-n:].sum(axis=0).max() for n in lengths])[:, None] + STILL
        farther, longer = went / (known.ways + STILL), lengths[:, None] / known.frames
        alike = (farther <= FARTHER) & (farther >= 1 / FARTHER)
        alike &= (longer <= 1 / least) & (longer >= least)
        excess = np.where(alike, excess, -np.inf)
        row, recording = np.unravel_index(excess.argmax(), excess.shape)
        best = float(excess[row, recording])
        if best < 0:
            return None
        sure = 1 / (1 + math.exp(-best / softness))
        return Sighting(int(known.signs[recording]), end - int(lengths[row]), end, sure, alone)

    def _settle(self) -> list[Sighting]:
        """Ends the wait for a better window than the best."""
        best, self._best = self._best, None
        if best is None:
            return []
        self._free = best.end
        if self._begin is not None and self._is_short:
            self._held.append(best)
            return []
        return [best]

    def _end_of_hands(self) -> list[Sighting]:
        """Ends the time for which hands were in sight: it is one sign as a whole, or what was held."""
        held, self._held = self._held, []
        begin, self._begin = self._begin, None
        if begin is None or not self._is_short:
            return held
        offset = self._total - len(self._seen)
        (moves,) = np.nonzero(self._seen[begin - offset : self._until - offset, 1])
        first, last = begin, self._until
        if len(moves):
            first = max(begin, begin + int(moves[0]) - 1 - MARGIN)
            last = min(last, begin + int(moves[-1]) + MARGIN)
        whole = None
        if last - first > 1:
            whole = self._nearest(np.array([last - first]), last, alone=True)
        if whole is None:
            return held
        self._free = self._until
        return [whole._replace(begin=begin, end=self._until)]

"""Puts the sightings of enrolled signs among the glosses that the network recognizes. Numpy only."""

import math

import numpy as np

from wsign_jax.decode.prototypes import Prototypes, Sighting, Spotter
from wsign_jax.decode.transcript import Candidate, Gloss
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import Frames

NEAR = 0.3  # seconds around a sighting in which the middle of a gloss still speaks against it


class EnrolledSigns:
    """Merges two streams of glosses: the network's, and sightings of enrolled signs.

    In a sentence, a sighting takes the place of the glosses whose middle lies in it, unless a gloss that
    is known by the rule for unknown signs lies in it or near. Where there is no such rule, a gloss in it
    stands if it is more confident. A sign alone takes the place of all glosses at its time, unless one
    is more confident. A stream and the whole recording give the same glosses in the same order, that of
    their beginnings.
    """

    def __init__(self, prototypes: Prototypes, has_rule: bool):
        """Begins before the first frame. `has_rule`: unknown glosses are told from known ones."""
        self._names, self._spotter, self._has_rule = prototypes.names, Spotter(prototypes), has_rule
        self._sightings: list[tuple[Gloss, bool]] = []  # whose glosses may still come; who is alone
        self._waiting: list[Candidate] = []  # that a sighting may still replace, or come before
        self._past: list[Candidate] = []  # of the network, given away, that speak against sightings

    @property
    def waiting(self) -> list[Candidate]:
        """The glosses that are not sure yet."""
        return self._waiting

    def see(self, frames: Frames) -> None:
        """Takes the next frames."""
        self._add(self._spotter.see(frames))

    def merge(self, candidates: list[Candidate], until: float) -> list[Candidate]:
        """Takes the network's next glosses, and returns what is sure now.

        Args:
            candidates: that the network's decoder will not change any more.
            until: seconds before which no gloss of the network will begin that was not given.
        """
        return self._sure(candidates, until, self._spotter.settled / joints.FPS)

    def finish(self, candidates: list[Candidate]) -> list[Candidate]:
        """Takes the network's last glosses, and returns all that are left."""
        self._add(self._spotter.finish())
        return self._sure(candidates, math.inf, math.inf)

    def _add(self, found: list[Sighting]) -> None:
        for sign, begin, end, sure, is_alone in found:
            times = begin / joints.FPS, end / joints.FPS
            self._sightings.append((Gloss(self._names[sign], *times, sure), is_alone))

    def _sure(self, candidates: list[Candidate], until: float, settled: float) -> list[Candidate]:
        self._waiting += candidates
        open_ones = [x for x in self._sightings if x[0].end + NEAR > until]
        for sighting, is_alone in self._sightings[: len(self._sightings) - len(open_ones)]:
            inside = self._touching(sighting) if is_alone else self._around(sighting, 0.0)
            by_rule = self._has_rule and not is_alone
            near = self._around(sighting, NEAR) if by_rule else inside
            if not any(_stands(x, sighting, by_rule) for x in near):
                kept = [x for x in self._waiting if x not in inside]
                self._waiting = [*kept, Candidate(sighting, is_enrolled=True)]
        self._sightings = open_ones
        # Nothing will begin before that, and no sighting will cover a gloss that ends before it.
        settled = min([settled, *(x.start for x, _ in open_ones)])
        self._waiting.sort(key=lambda candidate: candidate.gloss.start)
        count = 0
        for gloss, *_ in self._waiting:
            if gloss.start >= min(until, settled) or gloss.end > settled:
                break
            count += 1
        sure, self._waiting = self._waiting[:count], self._waiting[count:]
        self._past = [
            x for x in self._past + sure if not x.is_enrolled and _middle(x.gloss) >= settled - NEAR
        ]
        return sure

    def _touching(self, sighting: Gloss) -> list[Candidate]:
        """Returns the network's glosses that share some time with a sighting."""
        begin, end = sighting.start, sighting.end
        return [
            x
            for x in self._waiting
            if not x.is_enrolled and x.gloss.start < end and x.gloss.end > begin
        ]

    def _around(self, sighting: Gloss, margin: float) -> list[Candidate]:
        """Returns the network's glosses whose middle lies in a sighting, or so many seconds from it."""
        begin, end = sighting.start - margin, sighting.end + margin
        return [
            x
            for x in self._past + self._waiting
            if not x.is_enrolled and begin <= _middle(x.gloss) < end
        ]


def merge_enrolled(
    known: Prototypes, features: np.ndarray, candidates: list[Candidate], has_rule: bool
) -> list[Candidate]:
    """Returns the glosses of a whole recording (T, 42, 7), the network's and the enrolled signs."""
    signs = EnrolledSigns(known, has_rule)
    signs.see(Frames(*joints.positions_and_confidence(features)))
    return signs.finish(candidates)


def _stands(candidate: Candidate, sighting: Gloss, by_rule: bool) -> bool:
    """Returns whether a gloss keeps a sighting out: by the rule for unknown signs, or by confidence."""
    if by_rule:
        return not candidate.is_unknown
    return candidate.gloss.confidence >= sighting.confidence


def _middle(gloss: Gloss) -> float:
    return (gloss.start + gloss.end) / 2

"""Turns the hands seen in pictures into a left and a right hand in every 60 Hz frame.

Extraction and live use share this tracker. It looks ahead by a stated time, so live output is late by
that time and otherwise the same. It works in two steps:

1. Tracks. A hand seen in a picture continues the track that it fits best, by place, speed and label, or
   begins a new one. This looks back only. A track that no hand continued for `MAX_GAP` has ended: a hand
   that comes back later begins a new one. There are at most two tracks, because a signer has two hands.
2. Names. In each output frame every track is the left or the right hand. The labels that MediaPipe gave
   it decide: a sum of their log odds over about the last second and up to the look-ahead. A label that
   flips for a few pictures is outvoted. If two tracks have the same label, the one with less of it is
   the other hand.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from wsign_jax.keypoints import joints
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.keypoints.resample import (
    MAX_GAP,
    ROUNDING,
    OneEuroFilter,
    check_time,
    find_samples,
    frame_count,
)

DELAY_FRAMES = 9  # at joints.FPS: how late the output is, and how far the tracker may look ahead
DELAY = DELAY_FRAMES / joints.FPS  # seconds

# Tracks; lengths in hand sizes, costs in nats.
SPREAD, SPREAD_PER_SECOND = 0.5, 6.0  # of a hand's place around the expected place
LINEAR = 1.5  # spreads; beyond them the cost of a distance grows linearly
EXTRAPOLATION = 0.05  # seconds for which a hand is expected to keep its velocity
NEW_TRACK = 5.0
SAME_HAND = 0.3  # two detections whose joints are nearer than this on average are one hand
SMALLEST_HAND = 0.02  # picture widths
# Names.
MEMORY = 1.0  # seconds after which a label counts e times less
LEAST_SCORE, MOST_SCORE = 0.5, 1 - 1e-6  # of a label, by which its log odds are counted
MOST_LOG_ODDS = 3.0  # of one label: MediaPipe is often wrong and sure of it
RENAMING = 3.0  # the evidence by which a track's name must be wrong to be changed


class Frames(NamedTuple):
    """Output frames, at a constant rate from the time of the first picture."""

    positions: np.ndarray  # (n, 42, 3) float32, picture widths; zeros where the hand is absent
    confidence: np.ndarray  # (n, 2) float32, left and right; 0 where the hand is absent


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Returns the frames of several pushes in their order."""
    return Frames(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.confidence for part in parts]),
    )


def frames_between(frames: Frames, begin: int, end: int | None) -> Frames:
    """Returns the frames from `begin` to before `end`, as a slice has them."""
    return Frames(*(array[begin:end] for array in frames))


def no_frames(count: int) -> Frames:
    """Returns `count` frames without a hand."""
    return Frames(
        np.zeros((count, joints.NUM_JOINTS, 3), np.float32),
        np.zeros((count, len(joints.HANDS)), np.float32),
    )


# Image widths per second, mean over a hand's joints; MediaPipe's noise moves a hand at rest by 0.01 to
# 0.03. A sign that is held looks the same as rest. In composed ASL's validation sentences, most of
# them spelled, 42 % have a hold of 1 s, and 1 % have one of 2 s.
REST_SPEED = 0.05


def find_movement(frames: Frames) -> np.ndarray:
    """Tells which of n frames, the first and the last left out, show a hand that moves: (n - 2,) bool.

    The speed is a central difference; a hand must be seen in all three frames.
    """
    steps = frames.positions[2:] - frames.positions[:-2]
    speed = np.linalg.norm(steps, axis=-1) * (joints.FPS / 2)
    hands = np.stack([speed[:, hand].mean(axis=1) for hand in joints.HANDS], axis=1)
    seen = frames.confidence > 0
    steady = seen[2:] & seen[1:-1] & seen[:-2]
    return np.any(steady & (hands > REST_SPEED), axis=1)


@dataclasses.dataclass(eq=False)
class _Track:
    """One hand as long as it is seen without a gap over `MAX_GAP`."""

    times: list[float] = dataclasses.field(default_factory=list)
    seen: list[Detection] = dataclasses.field(default_factory=list)
    # After each detection: the decayed sum of the log odds that it is the right hand.
    votes: list[float] = dataclasses.field(default_factory=list)
    name: int | None = None  # in the last output frame

    def add(self, time: float, detection: Detection) -> None:
        decayed = 0.0
        if self.times:
            decayed = self.votes[-1] * math.exp((self.times[-1] - time) / MEMORY)
        self.times.append(time)
        self.seen.append(detection)
        self.votes.append(decayed + _log_odds(detection))

    def cost(self, time: float, detection: Detection) -> float:
        """The cost of a detection as this track's next: minus log likelihood, up to a constant."""
        elapsed = time - self.times[-1]
        last = self.seen[-1].landmarks
        expected = last[joints.WRIST, :2]
        if len(self.times) > 1:
            step = expected - self.seen[-2].landmarks[joints.WRIST, :2]
            steps = min(elapsed, EXTRAPOLATION) / (self.times[-1] - self.times[-2])
            expected = expected + min(steps, 1.0) * step
        size = max(_size(last), _size(detection.landmarks))
        distance = float(np.linalg.norm(detection.landmarks[joints.WRIST, :2] - expected)) / size
        vote, past = _log_odds(detection), self.votes[-1]
        contradiction = min(abs(vote), abs(past)) if vote * past < 0 else 0.0
        away = distance / (SPREAD + SPREAD_PER_SECOND * elapsed)
        # Huber's loss: hands that reverse are found far from where they were expected.
        surprise = 0.5 * away**2 if away < LINEAR else LINEAR * (away - 0.5 * LINEAR)
        return surprise + contradiction

    def forget_before(self, time: float) -> None:
        """Drops samples that no frame from `time` on needs; the last two stay for `cost`."""
        keep = min(bisect.bisect_left(self.times, time), max(len(self.times) - 2, 0))
        del self.times[:keep], self.seen[:keep], self.votes[:keep]


class Tracker:
    """Turns detections, picture by picture, into frames at a constant rate."""

    def __init__(self, fps: float = joints.FPS, smooth: bool = False):
        """Begins a video; `fps` is that of the output, `smooth` switches a One-Euro filter on."""
        self._fps = fps
        self._live: list[_Track] = []  # that the next picture may continue
        self._tracks: list[_Track] = []  # that an output frame to come may need
        self._first = self._last = -math.inf  # times of pictures
        self._done = 0  # output frames
        self._shown: list[_Track | None] = [None] * len(joints.HANDS)  # in the last output frame
        self._filters = [OneEuroFilter(fps) for _ in joints.HANDS] if smooth else None
        self.renamed = 0  # detections that were given to the hand that MediaPipe did not name

    def push(self, time_s: float, detections: Sequence[Detection]) -> Frames:
        """Takes the hands in the next picture, at `time_s`, which must increase.

        Returns:
            The output frames that this makes final: those up to `DELAY` before `time_s`.

        Raises:
            WSignError: no picture can be at that time, as `check_time` says.
        """
        check_time(time_s, self._last)
        if math.isinf(self._first):
            self._first = time_s
        self._last = time_s
        self._associate(time_s, _distinct(detections))
        # Two too few, because this may be rounded; then the frames' own times decide.
        count = max(self._done, int((time_s - DELAY - self._first) * self._fps) - 2)
        while self._time(count) + DELAY <= time_s:
            count += 1
        return self._output(count)

    def finish(self) -> Frames:
        """Returns the frames up to the last picture that pushes have not returned."""
        pushed = not math.isinf(self._first)
        return self._output(frame_count(self._last - self._first, self._fps) if pushed else 0)

    def _time(self, frame: int) -> float:
        return self._first + frame / self._fps

    # ------------------------------------------------------------------------------------------ tracks

    def _associate(self, time: float, detections: list[Detection]) -> None:
        live = [t for t in self._live if time - t.times[-1] <= MAX_GAP + ROUNDING]
        matches = _best_matches(
            [[track.cost(time, detection) for track in live] for detection in detections]
        )
        seen = []
        for detection, match in zip(detections, matches, strict=True):
            track = _Track() if match is None else live[match]
            track.add(time, detection)
            seen.append(track)
            if match is None:
                self._tracks.append(track)
        # Tracks seen now stay; another track may wait only if a hand is left for it.
        waiting = [track for track in live if track not in seen]
        waiting.sort(key=lambda track: -track.times[-1])
        self._live = (seen + waiting)[: len(joints.HANDS)]

    # ------------------------------------------------------------------------------------------- names

    def _output(self, count: int) -> Frames:
        """Returns the frames from the first that is not done up to `count`."""
        new = max(count - self._done, 0)
        frames = no_frames(new)
        if not self._tracks:  # no hand in any of them, as in a long pause
            self._done += max(new - 1, 0)
            new = min(new, 1)
        for row in range(new):
            self._frame(frames.positions[row], frames.confidence[row])
            self._done += 1
        oldest = self._time(self._done) - MAX_GAP - 1 / self._fps
        self._tracks = [t for t in self._tracks if t.times[-1] >= oldest or t in self._live]
        for track in self._tracks:
            track.forget_before(oldest)
        return frames

    def _frame(self, positions: np.ndarray, confidence: np.ndarray) -> None:
        """Fills in the next frame, (42, 3) and (2,), from what is known `DELAY` after it."""
        time = self._time(self._done)
        present = self._present(time)
        self._name([(track, votes, track.seen[samples[0]]) for track, votes, samples in present])
        shown: list[_Track | None] = [None] * len(joints.HANDS)
        for track, _, (before, after, weight) in present:
            hand = track.name
            assert hand is not None  # every track that is present has a name
            self._count_renamed(track, time)
            # If another track follows this hand's last at once, the hand is absent for a frame in
            # between. Otherwise the jump from one place to the other would pass for velocity.
            if self._shown[hand] not in (None, track):
                continue
            a, b = track.seen[before], track.seen[after]
            positions[joints.HANDS[hand]] = a.landmarks + weight * (b.landmarks - a.landmarks)
            confidence[hand] = a.score + weight * (b.score - a.score)
            shown[hand] = track
        self._shown = shown
        self._smooth(positions)

    def _present(self, time: float) -> list[tuple[_Track, float, tuple[int, int, float]]]:
        """Returns the tracks that cover a time, two at most, with their votes and samples to take."""
        found: list[tuple[Any, ...]] = []
        for track in self._tracks:
            # A picture later than the stated look-ahead must not count, even if it is known.
            known = bisect.bisect_right(track.times, time + DELAY)
            samples = find_samples(track.times[:known], time, self._fps)
            if samples is not None:
                away = min(abs(track.times[index] - time) for index in samples[:2])
                inside = samples[0] != samples[1]
                found.append((not inside, away, len(found), track, track.votes[known - 1], samples))
        found.sort(key=lambda entry: entry[:3])
        return [entry[3:] for entry in found[: len(joints.HANDS)]]

    def _name(self, present: list[tuple[_Track, float, Detection]]) -> None:
        """Names the tracks of a frame, which come with their votes and one detection each."""
        if not present:
            return
        # The evidence that the first is the right hand and the other the left.
        track, evidence, seen = present[0]
        other = None
        if len(present) == 2:
            other, against, beside = present[1]
            # If the labels do not decide: a signer's right hand is mostly on the picture's left.
            places = beside.landmarks[joints.WRIST, 0] - seen.landmarks[joints.WRIST, 0]
            evidence = evidence - against or float(places)
        elif not evidence:
            evidence = 1.0 if seen.hand == RIGHT_HAND else -1.0
        for known, right in ((track, RIGHT_HAND), (other, LEFT_HAND)):
            if known is not None and known.name is not None:
                evidence += RENAMING if known.name == right else -RENAMING
        track.name = RIGHT_HAND if evidence > 0 else LEFT_HAND
        if other is not None:
            other.name = LEFT_HAND if evidence > 0 else RIGHT_HAND

    def _count_renamed(self, track: _Track, time: float) -> None:
        begin = bisect.bisect_right(track.times, time - 1 / self._fps)
        for detection in track.seen[begin : bisect.bisect_right(track.times, time)]:
            self.renamed += detection.hand != track.name

    def _smooth(self, positions: np.ndarray) -> None:
        for hand, smooth in enumerate(self._filters or ()):
            rows = joints.HANDS[hand]
            if self._shown[hand] is None:
                smooth.reset()
            else:
                positions[rows] = smooth(positions[rows].astype(np.float64))


class FeatureStream:
    """Turns frames into features one frame later, because velocities need the frame after."""

    def __init__(self, fps: float = joints.FPS):
        self._fps = fps
        self._waiting: list[Frames] = []  # the last frame, and the one before for its velocity

    def push(self, frames: Frames) -> np.ndarray:
        """Returns all frames not returned yet but the last: (n, 42, 7) float32."""
        return self._features(frames, last=False)

    def finish(self) -> np.ndarray:
        """Returns the last frame, if there was any: (n, 42, 7) float32."""
        return self._features(no_frames(0), last=True)

    def _features(self, frames: Frames, last: bool) -> np.ndarray:
        known = concatenate([*self._waiting, frames])
        total = len(known.confidence)
        begin = sum(len(part.confidence) for part in self._waiting[:-1])
        end = total if last else max(total - 1, begin)
        features = joints.features_from_positions(*known, fps=self._fps)[begin:end]
        first, second = max(total - 2, 0), max(total - 1, 0)
        self._waiting = [frames_between(known, first, second), frames_between(known, second, total)]
        return features


def _log_odds(detection: Detection) -> float:
    """The log odds that a detection is a right hand, by its label alone."""
    score = min(max(detection.score, LEAST_SCORE), MOST_SCORE)
    # Bounded, but the surer of two reports always counts for more.
    odds = MOST_LOG_ODDS * math.tanh(math.log(score / (1 - score)) / MOST_LOG_ODDS)
    return odds if detection.hand == RIGHT_HAND else -odds


def _size(landmarks: np.ndarray) -> float:
    """The size of a hand, wrist to middle knuckle, which turns out of sight less than a finger does."""
    palm = landmarks[joints.MIDDLE_KNUCKLE] - landmarks[joints.WRIST]
    return max(float(np.linalg.norm(palm)), SMALLEST_HAND)


def _distinct(detections: Sequence[Detection]) -> list[Detection]:
    """Drops a second report of the same hand; the surer one stays."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        near = (
            float(np.linalg.norm(d.landmarks - detection.landmarks, axis=1).mean())
            < SAME_HAND * max(_size(d.landmarks), _size(detection.landmarks))
            for d in kept
        )
        if not any(near):
            kept.append(detection)
    return kept[: len(joints.HANDS)]


def _best_matches(costs: list[list[float]]) -> list[int | None]:
    """Each detection's track, or None for a new one, at the least total of at most 2 x 2 costs."""
    matches: list[list[int | None]] = [[]]
    for row in costs:
        matches = [
            [*taken, track]
            for taken in matches
            for track in [*range(len(row)), None]
            if track is None or track not in taken
        ]

    def total(match: list[int | None]) -> float:
        return sum(
            NEW_TRACK if track is None else row[track]
            for row, track in zip(costs, match, strict=True)
        )

    return min(matches, key=total)

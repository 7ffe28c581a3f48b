"""Procedural signing: signs, signers and sentences, from a gloss's parts to a tracker's output.

A gloss has the parts that linguists find in a sign: handshapes, orientations, a place, a path, and the
role of the second hand. A signer has a body, hands, a pace and an accent; no signer is in two splits.
A sentence poses both hands in every frame, with transitions and coarticulation. Forward kinematics
turns poses into joints, and an imperfect tracker observes these.

A pose is 17 numbers, in palms (the length from wrist to middle knuckle) and degrees. Its coordinates
are those of the left hand in the picture: x to the hand's own side of the body, y down, z away from the
camera, from the middle of the chest's upper edge. The right hand is the mirror image.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsign_jax.data import layout
from wsign_jax.keypoints import joints

UNSEEN_SIGNERS = {"val": 3, "test": 4}  # how many; training has as many as are asked for
PICTURE = (1.0, 0.75)  # width and height in image widths

# The purpose of a stream of random numbers, so that no two are the same; synthetic.py has 3 and 4.
_LEXICON, _SIGNER, _ACCENT = range(3)


# ---------------------------------------------------------------------------------------- inventory

# fmt: off
# Flexion of a finger's knuckle and middle joint: extended, bent, hooked, round, pinched, folded.
_CURLS = {"e": (0, 5), "b": (75, 10), "h": (15, 80), "r": (35, 40), "p": (55, 50), "f": (80, 100)}
# Angle to the index side, angle out of the palm's plane, flexion across the palm.
_THUMBS = {"out": (60, 15, 0), "along": (20, 15, 8), "across": (35, 50, 45), "oppose": (40, 55, 12)}
_HANDSHAPES = {  # index, middle, ring and little finger; spread; thumb
    "B": ("eeee", 0, "along"), "4": ("eeee", 12, "across"), "5": ("eeee", 15, "out"),
    "bent-B": ("bbbb", 0, "along"), "claw": ("hhhh", 13, "out"), "C": ("rrrr", 0, "oppose"),
    "O": ("pppp", 0, "oppose"), "S": ("ffff", 0, "across"), "thumb": ("ffff", 0, "out"),
    "1": ("efff", 0, "across"), "L": ("efff", 0, "out"), "X": ("hfff", 0, "across"),
    "V": ("eeff", 14, "across"), "bent-V": ("hhff", 12, "across"), "W": ("eeef", 12, "across"),
    "F": ("peee", 12, "oppose"), "8": ("ebee", 12, "out"), "I": ("fffe", 0, "across"),
    "Y": ("fffe", 8, "out"), "horns": ("effe", 6, "out"),
}
_ORIENTATIONS = {  # yaw: fingers to the far side; pitch: fingers to the camera; roll of the palm
    "up, palm out": (0, 5, 0), "up, palm in": (0, 5, 180), "up, palm across": (0, 10, 90),
    "forward, palm down": (15, 70, 0), "forward, palm up": (15, 65, 180),
    "forward, palm across": (10, 70, 90),
    "across, palm in": (75, 5, 180), "across, palm down": (75, 5, 95),
}
_PLACES = {  # x and y of the wrist
    "temple": (1.3, -2.4), "mouth": (0.2, -1.2), "far cheek": (-1.2, -2.0),
    "shoulder": (1.8, 0.2), "far shoulder": (-1.4, 0.3), "beside": (3.1, -0.9),
    "chest": (0.2, 1.1), "far side": (-1.3, 1.9), "neutral": (1.4, 1.8), "wide": (3.1, 1.3),
}
# fmt: on
_MIRROR_PLACES = ("temple", "shoulder", "beside", "neutral", "wide")  # clear of the other hand
_STILL_PLACE = (0.9, 2.6)  # a still second hand is held here; the first signs near it
_NEAR_STILL_PLACE = ("chest", "far side", "neutral")
_STILL_HANDSHAPES = ("B", "5", "S", "1", "C", "O")  # a still hand is simple in every sign language

_PATHS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    # Palms along and across the heading, for a phase from 0 to 1.
    "hold": lambda u: (0 * u, 0 * u),
    "line": lambda u: (2.4 * u - 1.2, 0 * u),
    "arc": lambda u: (2 * u - 1, np.sin(np.pi * u)),
    "corner": lambda u: (np.minimum(2.8 * u, 1.4) - 0.7, np.maximum(2.8 * u, 1.4) - 2.1),
    "zigzag": lambda u: (2.2 * u - 1.1, 0.45 * np.sin(4 * np.pi * u)),
    "tap": lambda u: (0.8 * np.abs(np.sin(2 * np.pi * u)), 0 * u),
    "circle": lambda u: (0.8 * np.cos(2 * np.pi * u), 0.8 * np.sin(2 * np.pi * u)),
    "circle back": lambda u: (0.8 * np.cos(2 * np.pi * u), -0.8 * np.sin(2 * np.pi * u)),
}
_AIMLESS = ("hold", "circle", "circle back")
_HEADINGS = (0, 90, 180, 270)  # degrees from the hand's own side, turning downward

# Most signs differ from another one in only one of these: every lexicon has such pairs.
_CONTRASTS = ("handshapes", "orientations", "movement")


@dataclasses.dataclass(frozen=True)
class Sign:
    """A sign, described by names of the inventory."""

    handshapes: tuple[str, str]  # at the start and at the end
    orientations: tuple[str, str]
    movement: tuple[str, int]  # path and heading
    second: str  # "": one-handed; "mirror": both do it; otherwise a still hand's handshape
    place: str


@functools.lru_cache(maxsize=8)
def draw_lexicon(seed: int, glosses: int) -> tuple[Sign, ...]:
    """Draws the signs of a vocabulary, pairwise distinct; a larger one begins with the smaller one."""
    rng = np.random.default_rng([_LEXICON, seed])
    signs: dict[Sign, None] = {}  # an ordered set
    while len(signs) < glosses:
        sign = _draw_gloss(rng)
        if signs and rng.random() < 0.6:
            other = list(signs)[int(rng.integers(len(signs)))]
            part = _CONTRASTS[int(rng.integers(len(_CONTRASTS)))]
            sign = dataclasses.replace(other, **{part: getattr(sign, part)})
        signs[sign] = None
    return tuple(signs)


def _draw_gloss(rng: np.random.Generator) -> Sign:
    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    def pick_two(options: Sequence[str]) -> tuple[str, str]:
        start = pick(options)
        return start, pick(options) if rng.random() < 0.3 else start

    second = pick(("", "", "mirror", pick(_STILL_HANDSHAPES)))
    places = {"": tuple(_PLACES), "mirror": _MIRROR_PLACES}.get(second, _NEAR_STILL_PLACE)
    path = pick(tuple(_PATHS))
    return Sign(
        handshapes=pick_two(tuple(_HANDSHAPES)),
        orientations=pick_two(tuple(_ORIENTATIONS)),
        movement=(path, 0 if path in _AIMLESS else pick(_HEADINGS)),
        second=second,
        place=pick(places),
    )


# ------------------------------------------------------------------------------------------ signers

# Columns of a pose; knuckles and middle joints belong to the index finger through the little finger.
_WRIST, _TURN, _SHAPE = slice(0, 2), slice(2, 5), slice(5, 17)
_KNUCKLES, _MIDDLES, _SPREAD, _THUMB = slice(5, 9), slice(9, 13), 13, slice(14, 17)

# A hand in the lap: below the picture, unless the signer is far from the camera.
_REST = np.array([1.6, 7.0, 20, 60, 40, *[30] * 4, *[35] * 4, 3, 30, 30, 15], float)
# How poses vary, as standard deviations. The factors below scale them for a signer's habit, a signer's
# own way of signing a gloss, and chance.
_VARIATION = np.array([*[0.25] * 2, *[10] * 3, *[8] * 8, 3, *[8] * 3], float)
_HABIT, _OWN_WAY, _CHANCE = 1.2, 1.2, 0.6

# Thumb, then index to little finger: where the digit starts (to the index side, to the fingertips,
# out of the palm) and its three bones, in hundredths of a palm; medians of MediaPipe's open hands.
_ROOTS = np.array([(28, 24, 10), (20, 99, 0), (0, 100, 0), (-19, 93, 0), (-36, 79, 0)]) / 100
_BONES = np.array([(40, 32, 25), (43, 26, 21), (47, 29, 22), (43, 27, 21), (33, 20, 18)]) / 100
_FAN = np.array([1, 0.1, -0.8, -1.6])  # how the fingers share the spread
_PALM = (0, 5, 17)  # joints around its center


@dataclasses.dataclass(frozen=True, eq=False)
class Signer:
    """One person's body and manner."""

    stream: tuple[int, ...]  # seeds of this signer's own random numbers
    left_handed: bool
    palm: float  # image widths
    chest: np.ndarray  # (2,) image widths
    pace: float  # 1 is usual
    reach: float  # scales paths
    firmness: float  # 1 completes every handshape, 0 stays relaxed
    slur: int  # frames, odd, over which a pose blends into its neighbors
    habit: np.ndarray  # (17,) added to every pose
    bones: np.ndarray  # (5, 3) palms


@functools.lru_cache(maxsize=256)
def draw_signer(seed: int, split: str, number: int) -> Signer:
    """Draws signer `number` of a split."""
    stream = (seed, layout.SPLITS.index(split), number)
    rng = np.random.default_rng([_SIGNER, *stream])
    return Signer(
        stream=stream,
        left_handed=number % 4 == 2,  # by rule, so that every split has some
        palm=rng.uniform(0.055, 0.085),
        chest=np.array([rng.uniform(0.43, 0.57), rng.uniform(0.32, 0.38)]),
        pace=rng.uniform(0.8, 1.25),
        reach=rng.uniform(0.75, 1.25),
        firmness=rng.uniform(0.8, 1.0),
        slur=2 * int(rng.integers(2, 6)) + 1,
        habit=_HABIT * _VARIATION * rng.standard_normal(len(_VARIATION)),
        bones=_BONES * rng.normal(1, 0.05) * rng.normal(1, 0.03, (5, 1)),
    )


# ---------------------------------------------------------------------------------------- movements


def ease(u: np.ndarray) -> np.ndarray:
    """Eases `u`, from 0 to 1, with the least jerk.

    Flash and Hogan 1985, "The coordination of arm movements".
    """
    return u**3 * (10 - 15 * u + 6 * u**2)


def _pose(signer: Signer, place: Sequence[float], orientation: str, handshape: str) -> np.ndarray:
    """The (17,) pose that the signer intends."""
    fingers, spread, thumb = _HANDSHAPES[handshape]
    knuckles, middles = zip(*(_CURLS[finger] for finger in fingers), strict=True)
    shape = np.array([*knuckles, *middles, spread, *_THUMBS[thumb]])
    shape = _REST[_SHAPE] + signer.firmness * (shape - _REST[_SHAPE])
    return np.concatenate([place, _ORIENTATIONS[orientation], shape])


def _act(sign: Sign, signer: Signer, frames: int) -> np.ndarray:
    """The (frames, hands, 17) poses of a sign: the dominant hand's, and the second's if it has one."""
    u = np.linspace(0, 1, frames)
    start, end = (
        _pose(signer, _PLACES[sign.place], orientation, handshape)
        for orientation, handshape in zip(sign.orientations, sign.handshapes, strict=True)
    )
    poses = start + ease(u)[:, None] * (end - start)
    path, heading = sign.movement
    along, across = _PATHS[path]((u + ease(u)) / 2)
    cos, sin = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    poses[:, 0] += signer.reach * (cos * along - sin * across)
    poses[:, 1] += signer.reach * (sin * along + cos * across)
    if not sign.second:
        return poses[:, None]
    if sign.second == "mirror":
        return np.stack([poses, poses], 1)
    still = _pose(signer, _STILL_PLACE, sign.orientations[0], sign.second)
    return np.stack([poses, np.broadcast_to(still, poses.shape)], 1)


def _blend(before: np.ndarray, after: np.ndarray, frames: int) -> np.ndarray:
    """The (frames, 17) poses strictly between two poses (17,)."""
    u = np.arange(1, frames + 1)[:, None] / (frames + 1)
    # If the hand need not move, for example before a repetition of the sign, it relaxes for a moment.
    idle = max(0.0, 1 - math.dist(before[_WRIST], after[_WRIST]))
    release = 0.15 * idle * (_REST - (before + after) / 2)
    return before + ease(u) * (after - before) + np.sin(np.pi * u) ** 2 * release


def _connect(
    rng: np.random.Generator, pieces: Sequence[tuple[int, np.ndarray]], travel: int
) -> np.ndarray:
    """Fills in a hand's poses between its signs: it moves on, lingers, or drops into the lap.

    Pieces are (first frame, (n, 17) poses), in order and from frame 0 on. The hand needs `travel` frames
    between a sign and the lap. Returns (T, 17) poses, up to the end of the last piece.
    """
    track = [pieces[0][1]]
    for (start, poses), (next_start, next_poses) in itertools.pairwise(pieces):
        before, after = poses[-1], next_poses[0]
        frames = next_start - start - len(poses)
        if frames > 2 * travel:
            sink = 0.15 if rng.random() < 0.35 else 1.0
            wait = before + sink * (_REST - before)
            track.append(_blend(before, wait, travel))
            track.append(np.broadcast_to(wait, (frames - 2 * travel, len(wait))))
            track.append(_blend(wait, after, travel))
        else:
            track.append(_blend(before, after, frames))
        track.append(next_poses)
    return np.concatenate(track)


def perform_signs(
    rng: np.random.Generator, signer: Signer, signs: Sequence[Sign], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lets a signer sign the `labels` (U,) of a vocabulary.

    Returns:
        (T, 2, 17) poses of the dominant and the second hand; and (U, 2), the first frame of every
        sign and the frame after its last.
    """
    second = joints.FPS / signer.pace
    lengths = (rng.normal(0.6, 0.05, len(labels)) * second).astype(int)
    pauses = (rng.uniform(0.2, 0.4, len(labels) + 1) * second).astype(int)
    pauses[[0, -1]] += int(0.2 * second)  # from the lap, and back into it
    ends = np.cumsum(pauses[:-1] + lengths)
    starts = ends - lengths
    hands: tuple[list, list] = ([(0, _REST[None])], [(0, _REST[None])])
    for label, start, frames in zip(labels.tolist(), starts.tolist(), lengths, strict=True):
        accent = np.random.default_rng([_ACCENT, *signer.stream, label])
        own_way, chance = accent.standard_normal((2, 17)), rng.standard_normal((2, 17))
        poses = _act(signs[label - 1], signer, frames) + signer.habit
        deviation = _VARIATION * (_OWN_WAY * own_way + _CHANCE * chance)
        for hand in range(poses.shape[1]):
            hands[hand].append((start, poses[:, hand] + deviation[hand]))
    for pieces in hands:
        pieces.append((int(ends[-1] + pauses[-1]), _REST[None]))
    travel = int(0.4 * second)
    poses = np.stack([_connect(rng, pieces, travel) for pieces in hands], 1)
    return _slur(poses, signer.slur), np.stack([starts, ends], 1)


def _slur(poses: np.ndarray, width: int) -> np.ndarray:
    """Adds coarticulation: blends poses (T, 2, 17) into their neighbors over `width` frames."""
    weights = np.hanning(width + 2)[1:-1]
    padded = np.pad(poses, [(width // 2, width // 2), (0, 0), (0, 0)], mode="edge")
    windows = (weight * padded[i : i + len(poses)] for i, weight in enumerate(weights))
    return sum(windows) / weights.sum()


# ------------------------------------------------------------------------------- joints and tracker


def _hands(poses: np.ndarray, signer: Signer) -> np.ndarray:
    """Turns poses (T, 2, 17) into joints (T, 2, 21, 3), in palms from the chest: forward kinematics."""
    lean = np.empty((*poses.shape[:2], 5, 3))  # each bone's angle to the index side
    rise = np.empty_like(lean)  # and its angle out of the palm
    thumb = poses[..., _THUMB]
    lean[..., 0, :] = thumb[..., 0, None] - thumb[..., 2, None] * np.arange(3)
    rise[..., 0, :] = thumb[..., 1, None]
    lean[..., 1:, :] = (poses[..., _SPREAD, None] * _FAN)[..., None]
    # A fingertip bends along with its middle joint.
    rise[..., 1:, :] = poses[..., _KNUCKLES, None] + poses[..., _MIDDLES, None] * [0, 1, 1.65]
    lean, rise = np.radians(lean), np.radians(rise)
    bones = np.stack([np.cos(rise) * np.sin(lean), np.cos(rise) * np.cos(lean), np.sin(rise)], -1)
    tips = _ROOTS[:, None] + np.cumsum(signer.bones[..., None] * bones, -2)
    roots = np.broadcast_to(_ROOTS[:, None], (*tips.shape[:3], 1, 3))
    hands = np.zeros((*poses.shape[:2], joints.JOINTS_PER_HAND, 3))
    # Palm to the camera, fingertips up, and the index side to the far side.
    hands[..., 1:, :] = -np.concatenate([roots, tips], -2).reshape(*poses.shape[:2], -1, 3)
    yaw, pitch, roll = np.moveaxis(np.radians(poses[..., _TURN]), -1, 0)
    for first, other, angle in ((0, 2, -roll), (1, 2, pitch), (0, 1, -yaw)):
        cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
        a, b = hands[..., first], hands[..., other]
        hands[..., first], hands[..., other] = a * cos - b * sin, b * cos + a * sin
    hands[..., :2] += poses[..., None, _WRIST]
    return hands


def film_poses(
    rng: np.random.Generator, poses: np.ndarray, signer: Signer, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Films and tracks poses (T, 2, 17) of the dominant and the second hand, with a tracker's errors.

    Returns:
        (T, 42, 3) positions in image widths, and (T, 2) confidence of the left and the right hand.
    """
    hands = _hands(poses, signer)
    time = np.arange(len(hands))[:, None, None] / joints.FPS
    tremor = np.sin(2 * np.pi * (rng.uniform(4, 9, (2, 2)) * time + rng.random((2, 2))))
    hands[..., :2] += noise * 0.015 * tremor[:, :, None]
    if not signer.left_handed:
        hands = hands[:, ::-1]
    hands[:, 1, :, 0] *= -1  # the right hand is the mirrored one
    chest = signer.chest + rng.normal(0, 0.01, 2)

    palms = hands[:, :, _PALM, :2].mean(2)
    speed = joints.FPS * np.linalg.norm(np.gradient(palms, axis=0), axis=-1)  # palms per second
    palms = chest + signer.palm * palms
    seen = np.all((palms > 0) & (palms < PICTURE), -1) & ~_dropped(rng, speed, noise)
    hands += noise * _jitter(rng, speed)
    hands *= signer.palm
    hands[..., :2] += chest
    doubt = 0.03 + 0.008 * speed + 0.03 * np.abs(rng.standard_normal(speed.shape))
    confidence = np.where(seen, np.clip(1 - noise * doubt, 0.05, 1), 0)
    return hands.reshape(len(hands), joints.NUM_JOINTS, 3), confidence


def _dropped(rng: np.random.Generator, speed: np.ndarray, noise: float) -> np.ndarray:
    """Draws the (T, 2) bool of missed hands: for 1 to 10 frames, more often in fast motion."""
    starts = rng.random(speed.shape) < noise * 0.003 * (1 + (speed / 8) ** 2)
    lengths = np.minimum(rng.geometric(0.3, speed.shape), 10)
    dropped = np.zeros(speed.shape, bool)
    for frame, hand in np.argwhere(starts):
        dropped[frame : frame + lengths[frame, hand], hand] = True
    return dropped


def _jitter(rng: np.random.Generator, speed: np.ndarray) -> np.ndarray:
    """Draws the tracker's errors, (T, 2, 21, 3) in palms: random in every frame, plus a slow drift."""
    frames = len(speed)
    shape = (2, joints.JOINTS_PER_HAND, 3)
    white = rng.standard_normal((frames, *shape), np.float32)
    knots = rng.standard_normal((frames // 12 + 2, *shape), np.float32)
    knot, between = np.divmod(np.arange(frames), 12)
    drift = knots[knot] + ease(between / 12)[:, None, None, None] * (knots[knot + 1] - knots[knot])
    jitter = 0.004 * (1 + speed[..., None, None] / 10) * white + 0.01 * drift
    jitter[..., 2] *= 1.5  # depth is more of a guess,
    jitter[..., joints.WRIST, 2] = 0  # and is relative to the wrist
    return jitter

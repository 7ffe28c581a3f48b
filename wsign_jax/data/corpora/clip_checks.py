"""Checks of clips at import: whether values are hands, which hands are seen, and what is in twice."""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora.records import Record
from wsign_jax.keypoints import joints

_SAMPLE = 40  # clips
# 0.96 to 1.00 of hands pass in real trees, 0.50 or less where values are something else.
_LEAST = 0.7
_LARGEST_PALM = 2.0  # picture widths; pixels are over 10
_BONES = np.array([pair for f in joints.FINGERS for pair in itertools.pairwise(f)])
_PALM = (5, 13, 17)  # knuckles
_MORE_LEFT = 1.5  # times as often as the right: most people sign with the right hand


def like_hands(positions: np.ndarray) -> np.ndarray:
    """Tells which hands (n, 21, 3) have a hand's proportions: (n,) bool.

    The palm is the bone from the wrist to the middle finger. Each finger's bone is shorter than 1.2
    palms, and the other knuckles are more than half a palm from the wrist.
    """
    wrist = positions[:, joints.WRIST]
    palm = np.linalg.norm(positions[:, joints.MIDDLE_KNUCKLE] - wrist, axis=-1)
    bones = np.linalg.norm(positions[:, _BONES[:, 1]] - positions[:, _BONES[:, 0]], axis=-1)
    knuckles = np.linalg.norm(positions[:, _PALM] - wrist[:, None], axis=-1)
    return (bones.max(1) < 1.2 * palm) & (knuckles.min(1) > 0.5 * palm)


def check_hands(found: Sequence[Record]) -> None:
    """Raises a `WSignError` if a sample of the clips' keypoints are mostly no hands."""
    readers = [(record.where, record.keypoints) for record in found if record.keypoints]
    hands = []
    for _, read in readers[:: -(-len(readers) // _SAMPLE) or 1]:
        try:
            positions, confidence, _ = read()
        except WSignError:
            continue  # it is named when all clips are read
        hands.append(positions.reshape(-1, 2, 21, 3)[confidence > 0])
    if not hands or not len(seen := np.concatenate(hands)):
        return
    palm = np.linalg.norm(seen[:, joints.MIDDLE_KNUCKLE] - seen[:, joints.WRIST], axis=-1)
    if np.median(palm) > _LARGEST_PALM:
        raise WSignError(
            f"{readers[0][0]}: the hands are larger than the picture; divide x and z by its width in "
            "pixels and y by its height"
        )
    share = float(like_hands(seen).mean())
    if share < _LEAST:
        raise WSignError(
            f"{readers[0][0]}: only {share:.0%} of its and other clips' hands have a hand's "
            "proportions; the values must be the left and the right hand's 21 points x, y, z"
        )


class ClipNotes:
    """Everything that is noted of clips while they are written."""

    def __init__(self) -> None:
        self._frames = 0
        self._hands = np.zeros(2)
        self._clips: dict[bytes, list[tuple[str, Record]]] = {}

    def add(self, split: str, record: Record, features: np.ndarray) -> None:
        """Notes a clip's features (T, 42, 7)."""
        self._frames += len(features)
        self._hands += joints.seen_hands(features).sum(0)
        digest = hashlib.blake2b(features.tobytes(), digest_size=16).digest()
        self._clips.setdefault(digest, []).append((split, record))

    def shares(self) -> tuple[float, float]:
        """The shares of frames in which the left and the right hand were seen."""
        left, right = self._hands / max(self._frames, 1)
        return float(left), float(right)

    def lines(self) -> list[str]:
        """Returns the hands' shares, and a warning of each kind of duplicates."""
        left, right = self.shares()
        lines = [f"hands: the left is seen in {left:.0%} of frames, the right in {right:.0%}"]
        if left > _MORE_LEFT * right:
            lines.append(
                "warning: the left hand is seen more than the right: if the signers are right-handed, "
                "the set is mirrored, or names hands wrongly, which --swap_hands repairs"
            )
        twice = [same for same in self._clips.values() if len(same) > 1]
        in_two = [same for same in twice if len({split for split, _ in same}) > 1]
        labels = [same for same in twice if len({record.glosses for _, record in same}) > 1]
        for some, what in (
            (in_two, "are in two splits: results on them say nothing"),
            (labels, "have two labels: nobody can learn which"),
        ):
            if some:
                (_, one), (_, other) = _unlike(some[0])
                count = sum(map(len, some))
                lines.append(
                    f"warning: {count:,} clips are copies that {what}, such as {one.where} and "
                    f"{other.where}"
                )
        return lines


def _unlike(same: list[tuple[str, Record]]) -> tuple[tuple[str, Record], tuple[str, Record]]:
    """Two of several equal clips, which differ in split or label if any do."""
    first = same[0]
    others = [
        clip for clip in same[1:] if (clip[0], clip[1].glosses) != (first[0], first[1].glosses)
    ]
    return first, (others or same[1:])[0]

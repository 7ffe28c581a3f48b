import numpy as np
import pytest

from tests.helpers import corpora
from wsign_jax.common.errors import WSignError
from wsign_jax.data.corpora import clip_checks
from wsign_jax.data.corpora.records import Keypoints, Record


def clip(hands, glosses=("A",), where="x"):
    keypoints = Keypoints(np.tile(hands, (4, 1, 1)), np.ones((4, 2)), np.arange(4) / 30)
    return Record("", where, glosses, where, keypoints=lambda: keypoints)


def features(seed, sides=(0, 1)):
    values = np.random.default_rng(seed).random((10, 42, 7)).astype(np.float32)
    values[..., 6] = 0
    for side in sides:
        values[:, 21 * side : 21 * side + 21, 6] = 1
    return values


def test_hands_have_a_hands_proportions():
    hand = corpora.HAND
    shrunk = np.where(np.arange(21)[:, None] == 9, 0.5 * hand, hand)
    turned = hand[:, [1, 2, 0]] + 3.0
    assert clip_checks.like_hands(np.stack([hand, turned, shrunk, hand[::-1]])).tolist() == [
        True, True, False, False
    ]  # fmt: skip
    both = np.concatenate([hand, hand])
    clip_checks.check_hands([clip(both)])
    clip_checks.check_hands([])
    with pytest.raises(WSignError, match=r"^x: the hands are larger than the picture; divide x"):
        clip_checks.check_hands([clip(640 * both)])
    with pytest.raises(
        WSignError, match=r"^x: only 50% of its and other clips' hands have a hand's"
    ):
        clip_checks.check_hands([clip(np.concatenate([hand, hand[::-1]]))])


def test_shares_of_hands_and_copies_are_told():
    seen = clip_checks.ClipNotes()
    a, b = clip(np.zeros((42, 3)), where="a"), clip(np.zeros((42, 3)), ("B",), "b")
    seen.add("train", a, features(0, (0,)))
    seen.add("train", b, features(1, (0, 1)))
    assert seen.shares() == (1.0, 0.5)
    hands, mirrored = seen.lines()
    assert hands == "hands: the left is seen in 100% of frames, the right in 50%"
    assert mirrored.startswith("warning: the left hand is seen more than the right")
    seen.add("train", b, features(0, (0,)))
    seen.add("test", b, features(1, (0, 1)))
    assert seen.lines()[2:] == [
        "warning: 2 clips are copies that are in two splits: results on them say nothing, such as b "
        "and b",
        "warning: 2 clips are copies that have two labels: nobody can learn which, such as a and b",
    ]

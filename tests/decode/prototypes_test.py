"""Enrolled signs are found wherever, however large, fast and with whichever hand they are signed."""

import math

import numpy as np
import pytest

from tests.helpers.signs import as_frames, mirrored, pause, sign
from wsign_jax.decode import prototypes
from wsign_jax.decode.prototypes import Prototypes, Spotter
from wsign_jax.keypoints.track import frames_between, no_frames


def embedded(features):
    directions = prototypes.bone_directions(as_frames(features))
    return prototypes.embed(directions, np.array([len(features)]))[0]


@pytest.fixture(scope="module")
def known():
    vectors = np.stack([embedded(sign(seed))[0] for seed in (1, 2)])
    ways = np.array([prototypes.sum_ways(as_frames(sign(seed)), 0, 60) for seed in (1, 2)])
    numbers, frames, thresholds = np.array([0, 1]), np.array([60, 60]), np.array([0.8, 0.8])
    return Prototypes(("ONE", "TWO"), numbers, vectors, frames, ways, thresholds)


def test_directions_are_unit_vectors_and_their_mirror():
    frames = no_frames(2)
    frames.confidence[1, 0] = 0.5
    frames.positions[1, :21] = [0.4, 0.5, 0.0]
    frames.positions[1, 1] = [0.43, 0.46, 0.0]  # thumb's first joint: 0.03 right, 0.04 up
    found = prototypes.bone_directions(frames).reshape(2, 2, 2, 23, 3)
    # Less the average hand, which is a right one.
    found[1, 0, 0] += prototypes.AVERAGE_HAND * [-1, 1, 1]
    found[1, 1, 1] += prototypes.AVERAGE_HAND
    assert not found[0].any()
    np.testing.assert_allclose(found[1, 0, 0, :2], [[0.6, -0.8, 0], [-0.6, 0.8, 0]], atol=1e-5)
    np.testing.assert_allclose(found[1, 0, 0, 2:], 0, atol=1e-6)
    assert not found[1, 0, 1].any() and not found[1, 1, 0].any()
    np.testing.assert_allclose(found[1, 1, 1, 0], [-0.6, -0.8, 0], atol=1e-5)


def test_a_way_is_in_lengths_of_the_hand_and_needs_the_hand_five_frames_before():
    frames = no_frames(20)
    frames.confidence[4:, 1] = 0.9
    frames.positions[4:, 21 + 9, 1] = (
        0.1  # a hand of 0.1, whose wrist goes 0.01 to the right a frame
    )
    frames.positions[:, 21:, 0] = 0.01 * np.arange(20)[:, None]
    found = prototypes.wrist_ways(frames)
    assert not found[:, 0].any() and not found[:4, 1].any()
    np.testing.assert_allclose(found[4:, 1], 0.1, rtol=1e-5)
    # Of the frames 0 to 19, 9 and later have one five frames before.
    assert prototypes.sum_ways(frames, 0, 20) == pytest.approx(1.1)


def test_an_embedding_is_at_even_times_and_of_length_1():
    directions = np.zeros((31, 2, prototypes.WIDTH // 16), np.float32)
    directions[:, 0, 0] = np.arange(31)  # 0, 2, 4, ... 30 at the sixteen points
    [found] = prototypes.embed(directions, np.array([31]))
    points = found.reshape(2, 16, -1)[0, :, 0]
    np.testing.assert_allclose(points, np.arange(0, 32, 2) / math.sqrt(4960), rtol=1e-5)
    [short] = prototypes.embed(directions, np.array([16]))  # the frames 15 to 30
    assert short.reshape(2, 16, -1)[0, 0, 0] / short.max() == pytest.approx(0.5)
    assert not found[1].any()


@pytest.mark.parametrize(
    "other", [{"place": (0.2, 0.8, 0.1)}, {"size": 0.03}, {"frames": 45}, {"frames": 90}], ids=str
)
def test_place_size_and_speed_change_nothing(other):
    plain, turned = embedded(sign(1))[0], embedded(mirrored(sign(1, **other)))
    assert plain @ embedded(sign(1, **other))[0] > 0.99
    assert plain @ turned[1] > 0.99 and plain @ turned[0] < 0.5
    assert plain @ embedded(sign(2, **other))[0] < 0.5


def test_sightings_are_where_the_signs_are_however_they_come(known):
    parts = [pause(30), sign(1, 48), pause(40), mirrored(sign(2, 80)), sign(3), sign(1, 60)]
    frames = as_frames(np.concatenate(parts))
    whole = Spotter(known)
    found = whole.see(frames) + whole.finish()
    assert [x.sign for x in found] == [0, 1, 0]
    np.testing.assert_allclose([x.begin for x in found], [30, 118, 258], atol=16)
    np.testing.assert_allclose([x.end for x in found], [78, 198, 318], atol=16)
    assert all(0.9 < x.confidence < 1 for x in found)
    for size in (1, 7, 64):
        spotter, pieces = Spotter(known), []
        for begin in range(0, len(frames.confidence), size):
            before = spotter.settled
            new = spotter.see(frames_between(frames, begin, begin + size))
            assert all(x.begin >= before for x in new)
            pieces += new
        assert not spotter.see(no_frames(0))  # a camera's first picture makes no frame
        assert pieces + spotter.finish() == found
    assert not Spotter(known).finish()

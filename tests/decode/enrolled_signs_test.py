"""An enrolled sign takes the place of glosses that do not fit, in a stream as in a whole recording."""

import numpy as np
import pytest

from tests.helpers.signs import as_frames, pause, sign
from wsign_jax.decode import prototypes
from wsign_jax.decode.enrolled_signs import EnrolledSigns
from wsign_jax.decode.prototypes import Prototypes, Spotter
from wsign_jax.decode.transcript import Candidate, Gloss
from wsign_jax.keypoints import joints
from wsign_jax.keypoints.track import frames_between

SENTENCE = [sign(3, 90), sign(1), sign(3, 90)]
ALONE = [pause(90), sign(1), pause(90)]


@pytest.fixture(scope="module")
def known():
    one = as_frames(sign(1))
    vectors = prototypes.embed(prototypes.bone_directions(one), np.array([60]))[:, 0]
    ways = np.array([prototypes.sum_ways(one, 0, 60)])
    return Prototypes(("ONE",), np.zeros(1, int), vectors, np.array([60]), ways, np.array([0.8]))


@pytest.mark.parametrize(
    ("parts", "has_rule", "middle", "width", "sure", "unknown", "stays", "comes"),
    [
        # Middles are seconds after the sighting's beginning, which lasts about a second.
        (SENTENCE, True, 0.5, 0.04, 1.0, True, False, True),
        (SENTENCE, True, 0.5, 0.04, 0.0, False, True, False),
        (SENTENCE, True, -0.15, 0.04, 0.0, False, True, False),
        (SENTENCE, True, -0.35, 0.04, 1.0, False, True, True),
        (SENTENCE, True, -0.15, 0.04, 1.0, True, True, True),
        (SENTENCE, False, 0.5, 0.04, 1.0, False, True, False),
        (SENTENCE, False, 0.5, 0.04, 0.5, False, False, True),
        (SENTENCE, False, -0.15, 0.04, 1.0, False, True, True),
        (ALONE, True, 0.5, 0.04, 1.0, True, True, False),
        (ALONE, True, 0.5, 0.04, 0.5, False, False, True),
        (ALONE, True, -0.15, 0.04, 1.0, False, True, True),
        (ALONE, True, 1.25, 0.6, 0.5, False, False, True),
        (SENTENCE, True, 1.25, 0.6, 0.5, True, True, True),
    ],
)
def test_a_sighting_needs_room(known, parts, has_rule, middle, width, sure, unknown, stays, comes):
    frames = as_frames(np.concatenate(parts))
    spotter = Spotter(known)
    [sighting] = spotter.see(frames) + spotter.finish()
    assert sighting.is_alone == (parts is ALONE)
    begin, end = sighting.begin / joints.FPS, sighting.end / joints.FPS
    assert begin == pytest.approx(1.5, abs=0.2) and end - begin == pytest.approx(1, abs=0.2)
    at = begin + middle
    candidates = [
        Candidate(Gloss("FIRST", 0.1, 0.3, 1.0)),
        Candidate(Gloss("X", at - width / 2, at + width / 2, sure), unknown),
        Candidate(Gloss("LAST", end + 0.35, end + 0.4, 1.0)),
    ]
    whole = EnrolledSigns(known, has_rule)
    whole.see(frames)
    found = whole.finish(candidates)
    expected = ["FIRST", "LAST"] + ["X"] * stays + ["ONE"] * comes
    assert sorted(x.gloss.label for x in found) == sorted(expected)
    assert found == sorted(found, key=lambda x: x.gloss.start)
    for size in (1, 4, 50):
        stream, pieces, given = EnrolledSigns(known, has_rule), [], 0.0
        for start in range(0, len(frames.confidence), size):
            stream.see(frames_between(frames, start, start + size))
            until = start / joints.FPS
            new = [x for x in candidates if given <= x.gloss.start < until]
            pieces += stream.merge(new, until)
            given = until
        rest = [x for x in candidates if x.gloss.start >= given]
        assert pieces + stream.finish(rest) == found
        assert len(pieces) >= len(found) - 2

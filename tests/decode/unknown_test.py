import io

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.decode import unknown
from wsign_jax.decode.unknown import KnownSigns, StreamedUnknown, UnknownRule

# Two examples of gloss 1 and of gloss 2, of log posteriors of three ids.
VECTORS = np.array([[-9, -1, -5], [-9, -3, -5], [-9, -7, -1], [-9, -5, -1]], float)
IDS = np.array([1, 1, 2, 2])


def test_a_score_is_a_distance_less_another():
    found = unknown.fit_familiarity(VECTORS, IDS, 3)
    assert found.seen.tolist() == [False, True, True]
    np.testing.assert_allclose(found.means, [[0, 0, 0], [-9, -2, -5], [-9, -6, -1]])
    np.testing.assert_allclose(found.center, [-9, -4, -3])
    # Within: only the second number varies, by +-1 with 4 - 2 degrees of freedom. Shrunken by a tenth.
    within = np.diag([0.1 * 2 / 3 + 1e-3, 0.9 * 2 + 0.1 * 2 / 3 + 1e-3, 0.1 * 2 / 3 + 1e-3])
    np.testing.assert_allclose(found.within, np.linalg.inv(within), rtol=1e-4, atol=1e-6)
    # Around: deviations (0, 3, -2), (0, 1, -2), (0, -3, 2), (0, -1, 2) with 3 degrees of freedom.
    covariance = np.array([[0, 0, 0], [0, 20, -16], [0, -16, 16]]) / 3
    around = 0.9 * covariance + (0.1 * 4 + 1e-3) * np.eye(3)
    np.testing.assert_allclose(found.around, np.linalg.inv(around), rtol=1e-4, atol=1e-6)
    apart, own = np.array([0, 1, -2]), np.array([0, -1, 0])
    expected = apart @ np.linalg.inv(around) @ apart - own @ np.linalg.inv(within) @ own
    vectors = np.stack([VECTORS[1], VECTORS[1], VECTORS[1], np.full(3, np.nan)])
    scores = found.scores(vectors, np.array([1, 2, 0, 1]))
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4)
    assert scores[1] < scores[0] and scores[2] == np.inf and scores[3] == -np.inf
    nothing = unknown.fit_familiarity(np.zeros((0, 3)), np.zeros(0, int), 3)
    assert nothing.scores(VECTORS, IDS).tolist() == [np.inf] * 4


def test_a_span_is_the_mean_of_its_last_patches():
    log_probs = -np.arange(200.0)[:, None] / 10 + [[0.0, -100.0]]
    found = unknown.span_vectors(log_probs, np.array([3, 0, 7]), np.array([5, 100, 7]))
    np.testing.assert_allclose(found[0], [-0.35, -20])  # nothing counts as less than -20
    np.testing.assert_allclose(found[1], [-(36 + 99) / 20, -20])
    assert np.isnan(found[2]).all()


def test_a_stream_marks_as_the_whole_recording_does():
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-5, 2, (400, 3)).astype(np.float32)
    starts = np.arange(0, 390, 7)
    ends, ids = starts + rng.integers(1, 9, len(starts)), rng.integers(1, 3, len(starts))
    starts[-1] = 200  # a long one
    familiarity = unknown.fit_familiarity(VECTORS, IDS, 3)
    scores = familiarity.scores(unknown.span_vectors(log_probs, starts, ends), ids)
    rule = UnknownRule(familiarity, float(np.median(scores)))
    expected = rule.find_unknown(log_probs, starts, ends, ids)
    streamed, found = StreamedUnknown(rule, room=16), []
    for first in range(0, 400, 8):
        streamed.see(1000 + first, log_probs[first : first + 8])  # after a pause
        for at in np.flatnonzero((ends > first) & (ends <= first + 8)):
            found.append(streamed.is_unknown(ids[at], 1000 + starts[at], 1000 + ends[at]))
    assert found == expected.tolist() and 0 < sum(found) < len(found)


def test_a_file_is_read_back_or_refused_in_one_line():
    known = KnownSigns(*[unknown.fit_familiarity(VECTORS, IDS, 3)] * 2)
    content = unknown.to_bytes(known)
    read = unknown.from_bytes(content, 3, "x")
    for part in ("own", "held_out"):
        for ours, theirs in zip(getattr(known, part), getattr(read, part), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def changed(**arrays):
        with np.load(io.BytesIO(content)) as old:
            memory = io.BytesIO()
            np.savez(memory, **{**old, **arrays})
        return memory.getvalue()

    for wrong, message in (
        (content[:-9], "x: damaged"),
        (changed(more=1), "x: damaged"),
        (changed(own_means=np.array([{}], object)), "x: damaged"),
        (changed(format=9), "x: a newer version of this project wrote it"),
        (changed(own_means=np.zeros((3, 2), np.float32)), r"own_means is float32\[3, 2\]; run"),
        (changed(held_out_center=np.full(3, np.nan, np.float32)), "held_out_center has NaN"),
    ):
        with pytest.raises(WSignError, match=message) as error:
            unknown.from_bytes(wrong, 3, "x")
        assert "\n" not in str(error.value)

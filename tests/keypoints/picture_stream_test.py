import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints.landmarker import LEFT_HAND, RIGHT_HAND, Detection
from wsign_jax.keypoints.picture_stream import PictureStream
from wsign_jax.keypoints.track import Tracker, concatenate

SHAPE = np.random.default_rng(0).normal(0, 0.03, size=(21, 3))


def hands(time):
    """A left hand and a right hand that move."""
    places = ((LEFT_HAND, 0.7), (RIGHT_HAND, 0.3))
    return [
        Detection(SHAPE + np.array([x + 0.1 * np.sin(time), 0.5, 0.0]), hand, 0.95)
        for hand, x in places
    ]


def streamed(pictures):
    stream = PictureStream()
    parts = [part for time, found in pictures for part in stream.push(time, found)]
    return concatenate([*parts, stream.finish()]), max(len(part.confidence) for part in parts)


def assert_as_extracted(frames, pictures):
    """Frames are what extraction's tracker makes of the pictures."""
    tracker = Tracker()
    parts = [tracker.push(time, found) for time, found in pictures]
    expected = concatenate([*parts, tracker.finish()])
    np.testing.assert_array_equal(frames.positions, expected.positions)
    np.testing.assert_array_equal(frames.confidence, expected.confidence)


@pytest.mark.parametrize("fps", [5, 12.5, 24, 30, 59.94, 120])
def test_every_frame_rate_gives_what_extraction_gives(fps):
    times = 1e4 + np.arange(int(3 * fps)) / fps
    pictures = [(float(time), hands(time)) for time in times]
    frames, _ = streamed(pictures)
    assert_as_extracted(frames, pictures)
    assert len(frames.confidence) == round((times[-1] - times[0]) * 60) + 1
    # Below 1 / MAX_GAP = 6.7 pictures a second nothing is made up between them.
    seen = (frames.confidence > 0).mean()
    assert seen == 1.0 if fps > 7 else 0.05 < seen < 0.2


def test_a_pause_of_minutes_is_worked_through_in_parts():
    times = [*np.arange(20) / 30, *(200 + np.arange(20) / 30)]
    pictures = [(float(time), hands(time)) for time in times]
    frames, largest = streamed(pictures)
    assert_as_extracted(frames, pictures)
    assert largest <= 1300 and len(frames.confidence) > 12_000


def test_a_time_that_is_refused_changes_nothing():
    stream = PictureStream()
    list(stream.push(1.5, ()))
    for time in (None, 1.4, 1.7e9):
        with pytest.raises(WSignError, match="a picture's time is"):
            stream.push(time, hands(0.0))
    list(stream.push(1.6, ()))
    assert len(stream.finish().confidence) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks": SHAPE[:5]}, r"hand 1 .*: landmarks are .*; give an array of floats \(21, 3\)"),
        ({"landmarks": SHAPE.tolist()}, "landmarks are"),
        ({"landmarks": SHAPE.astype(int)}, "landmarks are"),
        ({"landmarks": SHAPE.astype(complex)}, "landmarks are"),
        ({"landmarks": np.ma.masked_less(SHAPE, 0.0)}, "landmarks are"),
        ({"hand": 2}, "hand is 2; give 0, left, or 1, right"),
        ({"hand": "Left"}, "hand is 'Left'"),
        ({"score": 50.0}, r"score is 50\.0; it must be from 0 to 1"),
        ({"score": -0.5}, r"score is -0\.5"),
        ({"score": "1"}, "score is '1'"),
        ({"score": 10**400}, r"score is 10+\.\.\.0+; it"),
        (None, r"hand 1 of a picture is \(0, 1\); give a Detection"),
    ],
)  # fmt: skip
def test_what_is_no_hand_is_named(changes, message):
    left, right = hands(0.0)
    stream = PictureStream()
    with pytest.raises(WSignError, match=message) as error:
        stream.push(0.0, [left, (0, 1) if changes is None else right._replace(**changes)])
    assert "\n" not in str(error.value)


def test_a_hand_with_nan_is_left_out_and_counted():
    pictures = [(number / 30, hands(number / 30)) for number in range(30)]
    clean = [
        (time, found[1:] if 10 <= n < 20 else found) for n, (time, found) in enumerate(pictures)
    ]
    stream = PictureStream()
    parts = []
    for number, (time, found) in enumerate(pictures):
        if 10 <= number < 20:
            landmarks = found[0].landmarks.copy()
            landmarks[4, 1] = np.nan if number < 15 else 1e30
            bad = found[0]._replace(landmarks=landmarks)
            if number == 19:
                bad = found[0]._replace(score=1e30)
            parts += stream.push(time, [bad, found[1]])
        else:
            parts += stream.push(time, found)
    assert stream.nan_pictures == 10
    assert_as_extracted(concatenate([*parts, stream.finish()]), clean)

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.hands import L, R, hand
from wsign_jax.keypoints import joints, track
from wsign_jax.keypoints.landmarker import Detection

DETECTIONS = st.lists(
    st.builds(
        hand,
        st.sampled_from([0.2, 0.25, 0.3, 0.7]),  # so that tracks go on
        st.floats(0.4, 0.6),
        st.sampled_from([L, R]),
        st.floats(0.5, 1.0),
    ),
    max_size=3,
)
VIDEOS = st.lists(
    st.tuples(st.sampled_from([0.004, 1 / 60, 1 / 30, 0.06, 0.3]), DETECTIONS), max_size=25
)


def timed(video):
    times = 5.0 + np.cumsum([step for step, _ in video])
    return [(float(time), hands) for time, (_, hands) in zip(times, video, strict=True)]


def pushed(video, smooth=False):
    tracker = track.Tracker(smooth=smooth)
    return [tracker.push(time, hands) for time, hands in video], tracker.finish()


@settings(max_examples=60, deadline=None)
@given(VIDEOS, VIDEOS, st.booleans())
def test_a_frame_depends_on_nothing_later_than_the_stated_delay(video, other, smooth):
    first, second = timed([*video, *VIDEO_END]), timed([*video, *other, *VIDEO_END])
    parts, rest = pushed(first, smooth)
    changed_parts, changed_rest = pushed(second, smooth)
    whole = track.concatenate([*parts, rest])
    changed = track.concatenate([*changed_parts, changed_rest])
    differs_from = min(first[len(video)][0], second[len(video)][0])
    times = first[0][0] + np.arange(min(len(whole.confidence), len(changed.confidence))) / 60
    fixed = int(np.count_nonzero(times + track.DELAY < differs_from))
    np.testing.assert_array_equal(whole.positions[:fixed], changed.positions[:fixed])
    np.testing.assert_array_equal(whole.confidence[:fixed], changed.confidence[:fixed])


VIDEO_END = [(1 / 30, [hand(0.3, 0.3, R)])]


@settings(max_examples=60, deadline=None)
@given(VIDEOS)
def test_frames_come_as_soon_as_the_stated_delay_is_over(video):
    video = timed(video)
    parts, rest = pushed(video)
    count = 0
    for (time, _), part in zip(video, parts, strict=True):
        count += len(part.confidence)
        assert video[0][0] + (count - 1) / 60 + track.DELAY <= time or count == 0
        assert video[0][0] + count / 60 + track.DELAY > time
    if video:
        assert count + len(rest.confidence) == round((video[-1][0] - video[0][0]) * 60) + 1


@settings(max_examples=60, deadline=None)
@given(VIDEOS, st.data())
def test_live_features_are_those_of_the_whole_video(video, data):
    parts, rest = pushed(timed(video))
    whole = track.concatenate([*parts, rest])
    stream = track.FeatureStream()
    live = []
    remaining = list(parts)
    while remaining:  # in pushes of any size
        size = data.draw(st.integers(1, len(remaining)))
        live.append(stream.push(track.concatenate(remaining[:size])))
        remaining = remaining[size:]
    live += [stream.push(rest), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(live), joints.features_from_positions(*whole))


@settings(max_examples=40, deadline=None)
@given(VIDEOS)
def test_a_mirrored_video_swaps_the_hands(video):
    def mirrored(detection):
        landmarks = detection.landmarks * [-1, 1, 1] + [1, 0, 0]
        return Detection(landmarks, 1 - detection.hand, detection.score)

    parts, rest = pushed(timed(video))
    swapped_parts, swapped_rest = pushed(timed([(s, [mirrored(d) for d in ds]) for s, ds in video]))
    plain, swapped = (
        track.concatenate([*parts, rest]),
        track.concatenate([*swapped_parts, swapped_rest]),
    )
    np.testing.assert_array_equal(plain.confidence, swapped.confidence[:, ::-1])


def test_a_long_stream_needs_no_more_memory_than_a_short_one():
    tracker = track.Tracker()
    for number in range(3000):
        tracker.push(number / 30, [hand(0.3, 0.5, R), hand(0.7, 0.5 + 0.3 * (number % 97 > 90), L)])
    assert len(tracker._tracks) <= 4
    assert sum(len(kept.times) for kept in tracker._tracks) < 50

import threading
import time

import numpy as np
import pytest

from tests.helpers import videos
from wsign_jax.common.errors import WSignError
from wsign_jax.keypoints import camera
from wsign_jax.keypoints.camera import EveryItem, NewestItem
from wsign_jax.keypoints.video import Picture

NOTHING = np.zeros((2, 2, 3), np.uint8)


def numbered(count, closed=None):
    """Pictures at 0, 1, ... seconds; says when it is closed."""
    try:
        for number in range(count):
            yield Picture(float(number), NOTHING)
    finally:
        if closed is not None:
            closed.append(True)


def taken_from(source):
    """The times of all that a source has left."""
    times = []
    while not source.ended:
        taken = source.take(5.0)
        if taken is not None:
            times.append(taken.item.time_s)
    return times


def test_a_paced_source_gives_nothing_before_its_time():
    times = (3.0, 3.02, 3.1)
    began = time.monotonic()
    came = [
        (picture.time_s, time.monotonic() - began)
        for picture in camera.at_recorded_pace(Picture(at, NOTHING) for at in times)
    ]
    assert [at for at, _ in came] == list(times)
    assert all(elapsed >= at - times[0] for at, elapsed in came)


def test_a_source_that_waits_gives_everything_in_its_order():
    closed = []
    with EveryItem(numbered(50, closed)) as source:
        assert source.take(0.0).item.time_s == 0.0 and not source.ended
        assert taken_from(source) == [float(number) for number in range(1, 50)]
    assert source.dropped == 0 and closed


def test_who_is_too_slow_misses_the_older_pictures_and_they_are_counted():
    given = threading.Event()

    def pictures():
        yield from numbered(50)
        given.set()

    with NewestItem(pictures()) as source:
        assert given.wait(30)  # the source has gone on without its reader
        assert taken_from(source) == [48.0, 49.0]
    assert source.dropped == 48


def test_who_keeps_pace_misses_nothing():
    wanted = threading.Semaphore(1)

    def pictures():
        for picture in numbered(50):
            wanted.acquire()
            yield picture

    times = []
    with NewestItem(pictures()) as source:
        while not source.ended:
            taken = source.take(5.0)
            if taken is not None:
                times.append(taken.item.time_s)
                wanted.release()
    assert times == [float(number) for number in range(50)] and source.dropped == 0


def test_what_a_source_raises_comes_after_its_pictures():
    def pictures():
        yield Picture(0.0, NOTHING)
        raise WSignError("the plug was pulled")

    with NewestItem(pictures()) as source:
        assert source.take(5.0).item.time_s == 0.0
        with pytest.raises(WSignError, match="the plug was pulled"):
            source.take(5.0)
    assert source.ended


def test_a_source_that_gives_nothing_any_more_has_ended():
    stopped = threading.Event()

    def pictures():
        yield Picture(0.0, NOTHING)
        stopped.wait(60)

    with NewestItem(pictures(), stalled=0.2) as source:
        assert source.take(5.0).item.time_s == 0.0
        while not source.ended:
            assert source.take(0.01) is None
        stopped.set()


def test_leaving_stops_the_thread_and_closes_the_source():
    closed = []

    def endless():
        try:
            while True:
                yield Picture(0.0, NOTHING)
        finally:
            closed.append(True)

    with NewestItem(endless()) as source:
        assert source.take(5.0) is not None
    assert closed == [True]


def test_a_camera_gives_pictures_until_it_ends(tmp_path):
    blue = np.zeros((48, 64, 3), np.uint8)
    blue[..., 2] = 255
    videos.write(tmp_path / "v.mp4", [blue] * 5)  # OpenCV takes a file for a camera
    pictures = list(camera.camera_pictures(str(tmp_path / "v.mp4")))
    assert len(pictures) == 5 and (np.diff([p.time_s for p in pictures]) > 0).all()
    np.testing.assert_allclose(pictures[0].image.mean((0, 1)), [0, 0, 255], atol=8)


def test_a_camera_that_is_not_there_is_named(capfd):
    with pytest.raises(WSignError, match=r"camera /nowhere cannot be opened"):
        next(camera.camera_pictures("/nowhere"))
    with pytest.raises(WSignError, match=r"camera 99 cannot be opened"):
        next(camera.camera_pictures(99))
    assert capfd.readouterr().err == ""  # OpenCV would tell of every backend that it tried

"""python -m tools.benchmark.extract --video=FILE [--model=FILE] [--seconds=20] [--rounds=3]

Measures how fast keypoints are extracted, on this machine and on a video repeated to a length:

    one process    extraction (decoding, landmarks, tracking) against a bare HandLandmarker loop over
                   pictures that are in memory already; as a ratio of pictures per second
    two processes  against one, on four such videos, from the start of the processes to the last file;
                   beside it the same ratio of bare loops, from the first picture to the last, which is
                   the most that the machine and MediaPipe allow
    memory         the most that a process takes for a video of --minutes, and for a tenth of it; on
                   Linux only

Ratios are medians of rounds in which the two sides take turns. Nothing else should run meanwhile; other
programs disturb the ratio of processor time, if there is one, less.
"""

import argparse
import concurrent.futures
import itertools
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.benchmark import figures
from tools.benchmark.figures import Figures
from wsign_jax.common.errors import WSignError, exit_on_user_error
from wsign_jax.keypoints import draw, extract, landmarker, native_libs, video


def repeated(source: pathlib.Path, seconds: float) -> Iterator[video.Picture]:
    """Yields the pictures of a video over and over, with times that go on."""
    pictures = list(video.read_pictures(source))
    step = pictures[-1].time_s / (len(pictures) - 1)
    for number in itertools.count():
        if number * step >= seconds:
            return
        yield video.Picture(number * step, pictures[number % len(pictures)].image)


def bare(pictures: list[video.Picture], model: pathlib.Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processor, that MediaPipe alone takes."""
    import mediapipe as mp  # noqa: PLC0415  what is measured against is not this package's code

    vision = mp.tasks.vision
    options = vision.HandLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_hands=2,
    )
    with vision.HandLandmarker.create_from_options(options) as native:
        began = clocks()
        for picture in pictures:
            image = mp.Image(
                image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture.image)
            )
            native.detect_for_video(image, round(picture.time_s * 1000))
        return since(began)


def own(path: pathlib.Path, model: pathlib.Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processor, that the extraction takes in this process."""
    began = clocks()
    extract.extract_clip(extract.Clip("clip", path), extract.ExtractionSettings(), model)
    return since(began)


def clocks() -> tuple[float, float]:
    """The wall clock's seconds, and the processor's seconds of this process."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Seconds since `clocks()`."""
    now = clocks()
    return now[0] - began[0], now[1] - began[1]


def workers_seconds(paths: list[pathlib.Path], model: pathlib.Path, count: int) -> float:
    """Seconds that `count` worker processes take for some videos."""
    clips = [extract.Clip(f"clip{number}", path) for number, path in enumerate(paths)]
    with tempfile.TemporaryDirectory() as folder:
        output_dir = pathlib.Path(folder) / "features"
        began = time.perf_counter()
        reports = extract.extract_clips(
            clips, output_dir, extract.ExtractionSettings(model=model), count
        )
        assert all(report.done for report in reports), reports
        return time.perf_counter() - began


def bare_seconds(path: pathlib.Path, model: pathlib.Path, count: int) -> float:
    """Seconds that the slowest of `count` bare loops takes, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    begin, times = spawn.Barrier(count), spawn.SimpleQueue()
    loops = [
        spawn.Process(target=_bare_process, args=(path, model, begin, times)) for _ in range(count)
    ]
    for loop in loops:
        loop.start()
    slowest = max(times.get() for _ in loops)
    for loop in loops:
        loop.join()
    return slowest


def _bare_process(path: pathlib.Path, model: pathlib.Path, begin: Any, times: Any) -> None:
    pictures = list(video.read_pictures(path))
    begin.wait()
    times.put(bare(pictures, model)[0])


def peak_megabytes(path: pathlib.Path, model: pathlib.Path) -> float:
    """The most memory that the extraction ever takes, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as process:
        return process.submit(_own_peak, path, model).result() / 1e6


def _own_peak(path: pathlib.Path, model: pathlib.Path) -> int:
    own(path, model)
    return figures.peak_memory()


def one_process(path: pathlib.Path, model: pathlib.Path, rounds: int) -> Figures:
    """Returns the extraction's pictures per second over the bare loop's."""
    pictures = list(video.read_pictures(path))
    times = [(bare(pictures, model), own(path, model)) for _ in range(rounds)]
    count, found = len(pictures), {}
    keys = ("extract_share_of_bare_loop", "extract_share_of_bare_loop_by_processor")
    for clock, (name, key) in enumerate(zip(("clock", "processor time"), keys, strict=True)):
        sides = [(theirs[clock], ours[clock]) for theirs, ours in times]
        theirs, ours = (count / statistics.median(side) for side in zip(*sides, strict=True))
        found[key] = statistics.median(theirs / ours for theirs, ours in sides)
        print(
            f"one process, by the {name}: bare {theirs:.1f}, extraction {ours:.1f} pictures/s, "
            f"ratio {found[key]:.3f}"
        )
    return found


def two_processes(path: pathlib.Path, model: pathlib.Path, rounds: int) -> Figures:
    """Returns two worker processes' speed over one's, and the same ratio of bare loops."""
    pictures = 4 * sum(1 for _ in video.read_pictures(path))
    times = [
        [workers_seconds([path] * 4, model, processes) for processes in (1, 2)]
        for _ in range(rounds)
    ]
    side_by_side = [
        2 * bare_seconds(path, model, 1) / bare_seconds(path, model, 2) for _ in range(rounds)
    ]
    one, two = (pictures / statistics.median(side) for side in zip(*times, strict=True))
    found = {
        "extract_two_processes_ratio": statistics.median(one / two for one, two in times),
        "extract_two_bare_loops_ratio": statistics.median(side_by_side),
    }
    ratio, bare_ratio = found.values()
    print(f"workers: one {one:.1f}, two {two:.1f} pictures/s, ratio {ratio:.3f}")
    print(f"bare loops: two against one, ratio {bare_ratio:.3f}")
    return found


def memory(source: pathlib.Path, model: pathlib.Path, minutes: float) -> Figures:
    """Returns a process's peak memory for a video of `minutes` over that for a tenth of it."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for length in (minutes / 10, minutes):
            long = pathlib.Path(folder) / f"{length}.mp4"
            draw.write_video(long, repeated(source, length * 60))
            peaks.append(peak_megabytes(long, model))
    print(
        f"memory of a process: {peaks[0]:.0f} MB at {minutes / 10:g} minutes, "
        f"{peaks[1]:.0f} MB at {minutes:g}"
    )
    return {"extract_memory_ratio": peaks[1] / peaks[0]}


def measure(
    source: pathlib.Path, model: pathlib.Path, seconds: float, minutes: float, rounds: int
) -> Figures:
    """Prints and returns the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "video.mp4"
        draw.write_video(path, repeated(source, seconds))
        found = one_process(path, model, rounds) | two_processes(path, model, rounds)
    return found | memory(source, model, minutes) if minutes and figures.knows_memory() else found


def length(text: str) -> float:
    """A flag's value: a time, or 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return value


def main() -> None:
    """Parses the flags."""
    parser = figures.parser(__doc__)
    flag, file = parser.add_argument, figures.existing
    flag("--video", metavar="FILE", type=file, help="of a few seconds of signing")
    flag("--model", metavar="FILE", type=file, help=f"a {landmarker.MODEL_NAME}")
    figures.add_counts(
        parser,
        seconds=(20, "that the video is repeated to"),
        rounds=(3, "turns; the median counts"),
    )
    flag("--minutes", type=length, default=10.0, help="of the video for memory; 0: none (10)")
    flags = figures.parse(parser)
    with exit_on_user_error(), native_libs.hide_native_log():
        if flags.video is None:
            raise WSignError("--video=FILE is missing: name a video of a few seconds of signing")
        model = landmarker.find_model(flags.model)
        found = measure(flags.video, model, flags.seconds, flags.minutes, flags.rounds)
        figures.write(flags.json, found)


if __name__ == "__main__":
    main()

"""Extracts features from videos into `<id>.npy`, resumably, on all cores; a bad clip stops no other.

Beside the output folder are `dataset.json` (how it was made) and `quality.csv` (each clip's result).
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, printable
from wsign_jax.common.progress import Progress
from wsign_jax.keypoints import (
    extraction_record,
    joints,
    landmarker,
    native_libs,
    quality,
    track,
    video,
    worker_pool,
)
from wsign_jax.keypoints.quality import ClipReport

QUALITY = "quality.csv"
PICTURE_FPS = 25.0  # of folders of pictures, as in PHOENIX


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video, or a part of one, to extract."""

    id: str  # output file name without .npy
    source: pathlib.Path  # video file, or folder of pictures
    fps: float | None = None  # of a folder of pictures; videos carry their own times
    start_s: float | None = None  # the part of the video to take, in seconds
    end_s: float | None = None
    # y0, x0, y1, x1 as shares of the picture: the part to cut out, which then counts as the picture.
    box: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class ExtractionSettings:
    """The settings of an extraction; only the model's path may change within one output folder."""

    model: pathlib.Path | None = None  # None: from the cache, or downloaded into it
    fps: float = joints.FPS
    min_confidence: float = 0.5  # MediaPipe's thresholds of detection, presence and tracking
    smooth: bool = False  # with a One-Euro filter

    def check(self) -> None:
        """Raises `WSignError` for a value out of range."""
        if not 1 <= self.fps <= 1000:
            raise WSignError(f"fps {self.fps:g} must be from 1 to 1000")
        if not 0 <= self.min_confidence <= 1:
            raise WSignError(f"min_confidence {self.min_confidence:g} must be from 0 to 1")

    def record(self) -> dict[str, Any]:
        """Returns the fields that `dataset.json` records."""
        return {
            "extractor": "MediaPipe HandLandmarker",
            "model": landmarker.MODEL_VERSION,
            "fps": self.fps,
            "min_confidence": self.min_confidence,
            "smooth": self.smooth,
        }


# -------------------------------------------------------------------------------------------- one clip


def clip_of(path: pathlib.Path, picture_fps: float = PICTURE_FPS) -> Clip:
    """Returns the clip of a video file or a folder of pictures, named after it."""
    if path.is_dir():
        return Clip(path.name, path, fps=picture_fps)
    return Clip(path.stem, path)


def extract_clip(
    clip: Clip, settings: ExtractionSettings, model: pathlib.Path
) -> tuple[np.ndarray, ClipReport]:
    """Extracts one clip in this process, with the `model` of `landmarker.find_model`.

    Returns:
        (T, 42, 7) float32 and its report. If a part of a damaged video is missing, stderr says so too.

    Raises:
        WSignError: the clip cannot be read, or no hand was found in it.
    """
    parts: list[np.ndarray] = []
    missing: list[str] = []
    report = _extract(clip, settings, model, parts.append, missing)
    for what in missing:
        print(f"warning: {clip.source}: {what}", file=sys.stderr, flush=True)
    return np.concatenate(parts), report


def _extract(
    clip: Clip,
    settings: ExtractionSettings,
    model: pathlib.Path,
    write: Callable[[np.ndarray], object],
    missing: list[str],
) -> ClipReport:
    """Passes the features to `write` as they become final, so that a long clip takes no more memory.

    `missing` gets what could not be read of the clip. Returns the report.
    """
    tracker = track.Tracker(settings.fps, settings.smooth)
    stream = track.FeatureStream(settings.fps)
    times: list[float] = []
    confidence: list[np.ndarray] = []

    def keep(features: np.ndarray) -> None:
        confidence.append(features[:, joints.WRISTS, joints.CONFIDENCE])
        write(features)

    part = (clip.fps, clip.start_s, clip.end_s, clip.box)
    pictures = video.read_ahead(video.read_pictures(clip.source, *part, on_missing=missing.append))
    with (
        contextlib.closing(pictures),
        landmarker.Landmarker(model, settings.min_confidence) as hands,
    ):
        for picture in pictures:
            times.append(picture.time_s)
            detections = hands.detect(picture.image, picture.time_s)
            keep(stream.push(tracker.push(picture.time_s, detections)))
    keep(stream.push(tracker.finish()))
    keep(stream.finish())
    scores = np.concatenate(confidence)
    if not scores.any():
        raise WSignError(
            f"{clip.source}: no hand in any of its {len(times)} pictures; leave it out"
        )
    source, flips = str(clip.source), tracker.renamed
    return quality.report_clip(clip.id, source, scores, settings.fps, times, flips, missing)


def _extract_to_file(
    clip: Clip, settings: ExtractionSettings, model: pathlib.Path, output_dir: pathlib.Path
) -> tuple[ClipReport, pathlib.Path]:
    """Extracts a clip in a worker; returns the report and the file, which only needs its name."""
    partial = files.temporary_name(_output(output_dir, clip))
    try:
        with partial.open("xb") as file:  # never through a link
            _write_header(file, 0)
            report = _extract(clip, settings, model, lambda parts: file.write(parts.data), [])
            file.seek(0)
            _write_header(file, report.frames)  # as long as before: numpy leaves room for the count
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WSignError(f"{error.filename or output_dir}: {error.strerror}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return report, partial


def _write_header(file: BinaryIO, frames: int) -> None:
    shape = (frames, joints.NUM_JOINTS, joints.NUM_FEATURES)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


# ----------------------------------------------------------------------------------------- many clips


def extract_clips(
    clips: Sequence[Clip],
    output_dir: pathlib.Path,
    settings: ExtractionSettings | None = None,
    workers: int = 0,
    shard: tuple[int, int] = (1, 1),
    resume: bool = True,
) -> list[ClipReport]:
    """Extracts clips into `<output_dir>/<id>.npy`, and skips those that are already done.

    Args:
        clips: what to extract; ids must differ.
        output_dir: made if missing; the reports go beside it, into its parent.
        settings: how to extract; None for the defaults.
        workers: number of processes; 0 for one per core.
        shard: (i, n), the i-th of n parts of the clips, from 1, if several machines share the work.
        resume: False refuses an output folder that already has some of the clips.

    Returns:
        A report for each clip of this shard, in their order; `problem` says why one failed.

    Raises:
        WSignError: nothing can be extracted at all, or the folder was made with other settings.
    """
    settings = settings or ExtractionSettings()
    settings.check()
    if workers < 0 or not 1 <= shard[0] <= shard[1]:
        raise WSignError(
            f"workers {workers} must be 0 or more, shard {shard} be (i, n) with i <= n"
        )
    output_dir = output_dir.absolute()
    problems = _bad_ids(clips)
    mine = [clip for n, clip in enumerate(clips) if n % shard[1] == shard[0] - 1]
    there = [c for c in mine if c not in problems and _output(output_dir, c).exists()]
    problems |= {c: why for c in there if (why := _other_than_keypoints(_output(output_dir, c)))}
    done = {clip.id for clip in there if clip not in problems}
    if done and not resume:
        raise WSignError(
            f"{output_dir}: has {len(done)} of these {len(mine)} clips; choose another folder, or go "
            "on with --resume"
        )
    model = landmarker.find_model(settings.model)
    with native_libs.hide_native_log(), landmarker.Landmarker(model):
        pass  # a missing library is reported once, not for every clip
    extraction_record.hold_settings(output_dir, settings.record(), bool(done))
    name = QUALITY if shard[1] == 1 else f"quality-{shard[0]}of{shard[1]}.csv"
    again = {clip.id for clip in mine} - done
    with extraction_record.Reports(output_dir.parent / name, again) as reports:
        for clip in mine:
            if clip in problems:
                reports.add(ClipReport(clip.id, str(clip.source), problem=problems[clip]))
        todo = [clip for clip in mine if clip.id in again and clip not in problems]
        with Progress("keypoints", len(mine) - len(todo), len(mine), "clips") as bar:
            _extract_all(todo, output_dir, settings, model, workers, reports, bar)
        return [reports.find(c.id, str(c.source), _output(output_dir, c)) for c in mine]


def extract_from_dataset(
    video_dir: pathlib.Path | str,
    output_dir: pathlib.Path | str,
    target_fps: float = joints.FPS,
    **options: Any,
) -> list[ClipReport]:
    """Extracts every video under a folder and its sub-folders; returns a report for each.

    A video's id is its file name without the suffix; a folder of pictures counts as one video. Features
    have `target_fps` frames per second; training needs 60. Options are those of `ExtractionSettings` and
    `extract_clips`, and `picture_fps`.

    Raises:
        WSignError: as `extract_clips` does, and if there is no video.
    """
    names = [field.name for field in dataclasses.fields(ExtractionSettings)]
    chosen = {name: options.pop(name) for name in names if name in options}
    clips = find_clips(pathlib.Path(video_dir), options.pop("picture_fps", PICTURE_FPS))
    settings = ExtractionSettings(fps=target_fps, **chosen)
    return extract_clips(clips, pathlib.Path(output_dir), settings, **options)


def find_clips(video_dir: pathlib.Path, picture_fps: float = PICTURE_FPS) -> list[Clip]:
    """Returns the videos under a folder, sorted by id; a sub-folder with pictures is one too.

    An id is the path below the folder, with '_' between folders and without a file's ending.

    Raises:
        WSignError: there is no folder, or no video in it.
    """
    if not video_dir.is_dir():
        raise WSignError(f"{video_dir}: is not a folder; name the one that holds the videos")
    found = filter(video.is_recording, sorted(video_dir.rglob("*")))
    clips = [clip_of(path, picture_fps) for path in found]
    if not clips:
        kinds = " ".join(sorted(video.VIDEO_SUFFIXES))
        raise WSignError(f"{video_dir}: no videos in it ({kinds}), and no folders of pictures")
    named = (
        dataclasses.replace(
            clip, id="_".join((*clip.source.relative_to(video_dir).parts[:-1], clip.id))
        )
        for clip in clips
    )
    return sorted(named, key=lambda clip: clip.id)


def _extract_all(
    todo: Sequence[Clip],
    output_dir: pathlib.Path,
    settings: ExtractionSettings,
    model: pathlib.Path,
    count: int,
    reports: extraction_record.Reports,
    bar: Progress,
) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    _remove_partials(output_dir, {clip.id for clip in todo})
    tasks = [(clip, settings, model, output_dir) for clip in todo]
    outcomes = worker_pool.run_in_workers(
        _extract_to_file, tasks, count or worker_pool.count_cores()
    )
    pictures = 0
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            clip = todo[outcome.task]
            if outcome.problem is not None:
                report = ClipReport(clip.id, str(clip.source), problem=outcome.problem)
                bar.note(printable(f"failed: {clip.id}: {outcome.problem}"))
            else:
                report, partial = outcome.value
            # The row comes first: keypoints without a row would never get one.
            reports.add(report)
            if report.done:
                os.replace(partial, _output(output_dir, clip))
            pictures += round(report.duration_s * report.fps)
            bar.advance(f"{pictures / bar.seconds:.0f} pictures/s")


def _output(output_dir: pathlib.Path, clip: Clip) -> pathlib.Path:
    return output_dir / f"{clip.id}.npy"


def _other_than_keypoints(path: pathlib.Path) -> str:
    """Returns what is wrong with a file in the place of keypoints, or '' if it holds keypoints."""
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
        good = features.shape[1:] == (joints.NUM_JOINTS, joints.NUM_FEATURES) and len(features)
        good = good and features.dtype.kind == "f"
    except Exception:  # a damaged header can raise almost anything
        good = False
    fix = "delete it, and give the same command again"
    return "" if good else f"{path}: does not hold keypoints; {fix}"


def _remove_partials(output_dir: pathlib.Path, ids: set[str]) -> None:
    """Removes what a killed extraction of these clips left.

    Files of another shard stay, and so do files whose name holds only the start of a long id.
    """
    for path in output_dir.glob(".*.npy.*.partial"):
        if path.name[1:].rsplit(".npy.", 1)[0] in ids:
            path.unlink(missing_ok=True)


def _bad_ids(clips: Sequence[Clip]) -> dict[Clip, str]:
    """Returns the clips whose id cannot be a file name or is also another's, with the reason."""
    counts = collections.Counter(clip.id for clip in clips)
    problems = {}
    for clip in clips:
        try:
            files.check_id(clip.id, f"{clip.source}: id")
        except WSignError as error:
            problems[clip] = str(error)
            continue
        if counts[clip.id] > 1:
            others = [str(c.source) for c in clips if c.id == clip.id and c is not clip]
            problems[clip] = f"{clip.source}: has the id of {', '.join(others)}; rename one"
    return problems

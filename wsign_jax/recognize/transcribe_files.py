"""Transcribes files and folders; a bad file does not stop the others."""

import collections
import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, printable
from wsign_jax.decode import transcript as formats
from wsign_jax.decode.transcript import Transcript, file_head, format_transcript
from wsign_jax.keypoints import (
    extract,
    landmarker,
    native_libs,
    pose_file,
    video,
    worker_pool,
)
from wsign_jax.recognize.read_recordings import Recording
from wsign_jax.recognize.recognizer import Recognizer

KEYPOINTS = ".npy"
POSE = "pose"  # a format of the keypoints themselves
FORMATS = (*formats.FORMATS, POSE)
ONE_EACH = formats.ONE_EACH | {POSE}
_TOGETHER = 32  # recordings that are recognized at a time


class RecordingSource(NamedTuple):
    """One recording to transcribe."""

    path: pathlib.Path  # a video, a folder of pictures, or keypoints
    name: pathlib.PurePath  # its path below the folder that was asked for


class TranscriptionOutcome(NamedTuple):
    """The result for one recording."""

    source: RecordingSource
    transcript: Transcript | None
    problem: str = ""  # why there is no transcript
    keypoints: np.ndarray | None = None  # (T, 42, 7), y in picture widths


class DecodingOptions(NamedTuple):
    """How to decode, as in `Recognizer.transcribe`."""

    decoder: str = "greedy"
    chunk: int | None = None
    left_context: int | None = None
    unknown: str = formats.OFF


def find_recordings(inputs: Sequence[pathlib.Path]) -> list[RecordingSource]:
    """Finds what to transcribe: files as they are, and recordings in folders and sub-folders.

    Raises:
        WSignError: an input does not exist, or a folder has no recording in it.
    """
    found: list[RecordingSource] = []
    for path in inputs:
        if not path.exists():
            raise WSignError(f"{path}: no such file or folder")
        if not path.is_dir():
            found.append(RecordingSource(path, pathlib.PurePath(path.name)))
            continue
        if video.pictures_in(path):
            found.append(RecordingSource(path, pathlib.PurePath(path.resolve().name)))
            continue
        inside = [
            RecordingSource(p, p.relative_to(path)) for p in sorted(path.rglob("*")) if _is_one(p)
        ]
        if not inside:
            kinds = " ".join(sorted(video.VIDEO_SUFFIXES))
            raise WSignError(f"{path}: no videos in it ({kinds}), no pictures and no {KEYPOINTS}")
        found += inside
    return found


def _is_one(path: pathlib.Path) -> bool:
    is_keypoints = path.suffix.lower() == KEYPOINTS and not path.name.startswith(".")
    return video.is_recording(path) or (is_keypoints and not path.is_dir())


def transcribe_files(
    recognizer: Recognizer,
    sources: Sequence[RecordingSource],
    options: DecodingOptions,
    model: pathlib.Path | None = None,
    processes: int = 0,
) -> Iterator[TranscriptionOutcome]:
    """Transcribes recordings in their order, one by one on demand; first checks that it can.

    `model` is a copy of MediaPipe's model; None takes the cached one, or downloads it. As many as
    `processes` read videos, 0 for one per core.

    Raises:
        WSignError: videos cannot be read here at all, the model has no such decoder, or `processes` is
            below 0.
    """
    if processes < 0:
        raise WSignError(f"--workers is {processes}; give 0, one a core, or more")
    recognizer.prepare(*options)
    if any(_is_video(source) for source in sources):
        model = landmarker.find_model(model)
        with native_libs.hide_native_log(), landmarker.Landmarker(model):
            pass  # so that what the system lacks is said once, not for every video
    return _transcribe(recognizer, sources, options, _read(recognizer, sources, model, processes))


def _transcribe(
    recognizer: Recognizer,
    sources: Sequence[RecordingSource],
    options: DecodingOptions,
    keypoints: Generator[tuple[int, np.ndarray | None, str], None, None],
) -> Iterator[TranscriptionOutcome]:
    done: dict[int, TranscriptionOutcome] = {}
    waiting: dict[int, np.ndarray] = {}
    following = 0

    def recognize() -> None:
        transcripts = recognizer.transcribe(list(waiting.values()), *options)
        for number, transcript in zip(waiting, transcripts, strict=True):
            done[number] = TranscriptionOutcome(
                sources[number], transcript, keypoints=waiting[number]
            )
        waiting.clear()

    with contextlib.closing(keypoints):
        for number, features, problem in keypoints:
            if features is None:
                done[number] = TranscriptionOutcome(sources[number], None, problem)
            else:
                waiting[number] = features
            if len(waiting) == _TOGETHER:
                recognize()
            while following in done:
                yield done.pop(following)
                following += 1
    recognize()
    yield from (done[number] for number in sorted(done))


def _read(
    recognizer: Recognizer,
    sources: Sequence[RecordingSource],
    model: pathlib.Path | None,
    processes: int,
) -> Generator[tuple[int, np.ndarray | None, str], None, None]:
    """Yields each source's number, its keypoints if they can be read, and the problem otherwise."""

    def read(number: int, recording: Recording) -> tuple[int, np.ndarray | None, str]:
        try:
            return number, recognizer.keypoints(recording, str(sources[number].path)), ""
        except WSignError as error:
            return number, None, str(error)

    for number, source in enumerate(sources):
        if not _is_video(source):
            yield read(number, source.path)
    videos = [number for number, source in enumerate(sources) if _is_video(source)]
    tasks = [
        (extract.clip_of(sources[n].path), extract.ExtractionSettings(), model) for n in videos
    ]
    outcomes = worker_pool.run_in_workers(
        extract.extract_clip, tasks, processes or worker_pool.count_cores()
    )
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            number = videos[outcome.task]
            if outcome.problem is not None:
                yield number, None, outcome.problem
            else:
                yield read(number, outcome.value[0])


def _is_video(source: RecordingSource) -> bool:
    return source.path.suffix.lower() != KEYPOINTS


# ---------------------------------------------------------------------------------------------- writing


def write_transcripts(
    outcomes: Iterable[TranscriptionOutcome],
    kind: str,
    place: pathlib.Path | None,
    replace: bool = False,
) -> int:
    """Writes transcripts as they come; returns how many recordings have none, which stderr names.

    `kind` is one of `FORMATS`; `place` is a file, or a folder for formats of one file a recording; None
    is stdout. A file is replaced once the new one is whole, and stays if no recording has a transcript.
    """
    failed = 0
    with contextlib.ExitStack() as stack:
        together, head = sys.stdout, file_head(kind)
        named: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        if place is not None and kind not in ONE_EACH:
            together = stack.enter_context(files.open_text(place, replace))
            named = functools.partial(files.name_in_errors, place)
        for source, transcript, problem, keypoints in outcomes:
            if transcript is None:
                failed += 1
                line = printable(f"failed: {_named(source.path, problem)}")
                print(line, file=sys.stderr, flush=True)
                continue
            if place is not None and kind == POSE and keypoints is not None:
                pose_file.write_pose(file_of(source, kind, place), keypoints)
                continue
            text = format_transcript(kind, str(source.path), transcript)
            if place is not None and kind in ONE_EACH:
                files.write(file_of(source, kind, place), (head + text).encode())
                continue
            with named():
                together.write(head + text)
                together.flush()
            head = ""  # once per file
    return failed


def check_free(
    sources: Sequence[RecordingSource],
    kind: str,
    place: pathlib.Path | None,
    replace: bool,
    read: Sequence[pathlib.Path] = (),
) -> None:
    """Refuses to overwrite, or files without a place; call it before anything is computed.

    Raises:
        OSError: a folder has the name of a file to write.
        WSignError: a file exists already, is one that is read, or cannot be written; or two recordings
            would have the same one.
    """
    paths = [] if place is None else [place]
    if kind == POSE:
        pose_file.load_library()
        if place is None:
            raise WSignError("pose is not for a terminal; name a folder for its files with --out")
    if kind in ONE_EACH:
        if place is None:
            if len(sources) > 1:
                raise WSignError(
                    f"{kind} is one file a recording, and these are {len(sources)}; name a folder for "
                    "them with --out"
                )
            return
        if place.exists() and not place.is_dir():
            raise WSignError(f"{place}: is a file; name a folder for what is written")
        paths = [file_of(source, kind, place) for source in sources]
        if twice := [path for path, count in collections.Counter(paths).items() if count > 1]:
            raise WSignError(f"{twice[0]}: would be of two recordings; transcribe them one by one")
    elif place is not None and place.is_dir():
        raise WSignError(f"{place}: is a folder; name a file")
    pictures = [path for s in sources if s.path.is_dir() for path in video.pictures_in(s.path)]
    files.check_apart(paths, [*(source.path for source in sources), *pictures, *read])
    there = [path for path in paths if path.exists()]
    if there and not replace:
        raise WSignError(f"{there[0]}: is there already; name another --out, or give --replace")
    for path in paths:
        # One text may go into a pipe, or to /dev/null.
        if kind in ONE_EACH or path.is_file() or not path.exists():
            files.check_writable(path)


def file_of(source: RecordingSource, kind: str, folder: pathlib.Path) -> pathlib.Path:
    """The file of a recording, where players look for subtitles beside a copy of the folder."""
    return folder / source.name.with_suffix(f".{kind}")


def _named(path: pathlib.Path, problem: str) -> str:
    """Returns a problem with the file's name before it, once."""
    return problem if problem.startswith(str(path)) else f"{path}: {problem}"

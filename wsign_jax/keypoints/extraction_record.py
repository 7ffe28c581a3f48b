"""The record beside an output folder: the settings in `dataset.json`, the clips in `quality.csv`."""

import contextlib
import dataclasses
import pathlib
from typing import Any

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError, printable
from wsign_jax.keypoints import landmarker, quality, video
from wsign_jax.keypoints.quality import ClipReport

DATASET = "dataset.json"


class Reports:
    """The table `quality.csv`, which gets its rows as clips are done, so that a kill loses none."""

    def __init__(self, path: pathlib.Path, again: set[str]):
        """Prepares the table at `path`, without the rows of clips that are about to be done again."""
        self._path, self._again = path, set(map(printable, again))
        self._rows: dict[tuple[str, str], ClipReport] = {}

    def __enter__(self) -> "Reports":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_name(f".{self._path.name}.lock")
        taken = (
            f"{self._path}: another extraction is at work on it; wait for it, or give each its own "
            "part with --shard"
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.hold_lock(lock, taken))
            self._open()
            self._locked = stack.pop_all()
        return self

    def _open(self) -> None:
        self._others = [
            clip
            for path in sorted(self._path.parent.glob("quality*.csv"))
            if path != self._path
            for clip in quality.read_quality(path)
        ]
        for clip in quality.read_quality(self._path):
            if clip.id not in self._again:
                self._rows[clip.id, clip.source] = clip
        files.write(self._path, quality.table_of_clips(self._rows.values()).encode())
        self._file = self._path.open("a", encoding="utf-8")

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        files.write(self._path, quality.table_of_clips(self._rows.values()).encode())
        self._locked.close()

    def add(self, report: ClipReport) -> None:
        """Adds a row, to the file too; bytes of names that are not UTF-8 are escaped."""
        key = (printable(report.id), printable(report.source))
        problem = None if report.problem is None else printable(report.problem)
        report = dataclasses.replace(report, id=key[0], source=key[1], problem=problem)
        self._rows[key] = report
        self._file.write(quality.table_row(report))
        self._file.flush()

    def find(self, id: str, source: str, output: pathlib.Path) -> ClipReport:
        """Returns the row of a clip, which may be in another shard's table.

        If that is lost, the row says only how many frames the keypoints have.
        """
        id = printable(id)
        key = (id, printable(source))
        if key in self._rows:
            return self._rows[key]
        # Its video may have moved since.
        for report in [*self._rows.values(), *self._others]:
            if report.id == id and report.done:
                return report
        frames = len(np.load(output, mmap_mode="r"))
        return ClipReport(*key, frames=frames)


def hold_settings(output_dir: pathlib.Path, settings: dict[str, Any], begun: bool) -> None:
    """Compares the settings with those in `dataset.json`, or writes them into it.

    Raises:
        WSignError: the folder was begun with other or unknown settings, or `dataset.json` describes
            another output folder.
    """
    path = output_dir.parent / DATASET
    content = files.read_json(path) if path.exists() else {}
    versions = {"mediapipe": landmarker.load_mediapipe()[0].__version__}
    versions["av"] = video.load_av().__version__
    recorded = content.get("extraction")
    if recorded is None:
        if begun:
            raise WSignError(
                f"{output_dir}: has keypoints of which {path} says nothing; move them away"
            )
        record = {"folder": output_dir.name, **settings, "versions": versions}
        content |= {"extraction": record}
        files.write_json(path, content)
        return
    if not isinstance(recorded, dict):
        raise WSignError(f'{path}: "extraction" must be an object; move the file away')
    if recorded.get("folder") != output_dir.name:
        raise WSignError(
            f"{path}: describes the output folder {recorded.get('folder')!r} beside it; give each "
            f"output a place of its own, for example {output_dir}/features"
        )
    for name, value in settings.items():
        if recorded.get(name) != value:
            raise WSignError(
                f"{path}: begun with {name} {recorded.get(name)!r}, not {value!r}; keep to that, or "
                "choose another output folder"
            )
    begun_with = recorded.get("versions")
    for name, version in versions.items():
        before = begun_with.get(name) if isinstance(begun_with, dict) else None
        if before != version:
            print(f"warning: begun with {name} {before}, goes on with {version}", flush=True)

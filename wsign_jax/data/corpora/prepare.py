"""Makes a data set on disk from a corpus as read."""

import dataclasses
import inspect
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, splits
from wsign_jax.data.corpora import (
    asl_fingerspelling,
    asl_signs,
    auto,
    folder,
    isharah,
    lsa64,
    mp_data,
    msasl,
    npz,
    phoenix2014,
    phoenix2014t,
)
from wsign_jax.data.corpora.records import Corpus, Record, sample
from wsign_jax.data.vocab import BLANK, BLANK_ID, Vocabulary
from wsign_jax.keypoints import joints

AUTO = "auto"
READERS: Mapping[str, Callable[..., Corpus]] = {
    "asl_fingerspelling": asl_fingerspelling.read,
    "asl_signs": asl_signs.read,
    "folder": folder.read,
    "isharah": isharah.read,
    "lsa64": lsa64.read,
    "mp_data": mp_data.read,
    "msasl": msasl.read,
    "npz": npz.read,
    "phoenix2014": phoenix2014.read,
    "phoenix2014t": phoenix2014t.read,
}


_MADE_OF = ".clips.json"  # in an unfinished data set: the clip that each example is made of


class Extraction(Protocol):
    """A module that reads videos: `wsign_jax.keypoints.extract`, which loads MediaPipe, or a fake."""

    Clip: Callable[..., Any]
    extract_clips: Callable[..., list[Any]]


@dataclasses.dataclass(frozen=True)
class ImportSettings:
    """How a data set is made of a corpus."""

    label_map: pathlib.Path | None = None  # a vocabulary; None: the sorted glosses from 1
    on_bad: str = "error"  # or 'skip': leave out what cannot be used
    seed: int = 0  # for drawing splits, if the corpus has none
    workers: int = 0  # processes that read videos; 0: one per core
    extraction: Any = None  # settings of the extraction

    def __post_init__(self) -> None:
        if self.on_bad not in ("error", "skip"):
            raise WSignError(f"--on_bad={self.on_bad}: write error or skip")
        if self.seed < 0 or self.workers < 0:
            raise WSignError("--seed and --workers must be 0 or more")


def read(name: str, root: pathlib.Path, **options: Any) -> Corpus:
    """Reads a corpus by its name.

    Args:
        name: one of `READERS`, or `AUTO`, which tells the corpus by the files in `root`.
        root: the folder of the corpus.
        options: arguments of that corpus's `read`.

    Raises:
        WSignError: the name or an option is unknown, or the corpus cannot be read.
    """
    said: tuple[str, ...] = ()
    if name == AUTO:
        found = auto.find(root)
        name, root, said = found.name, found.root, (f"{found.why}: {found.command}",)
    if name not in READERS:
        raise WSignError(
            f"unknown corpus {name!r}; the known ones are {', '.join(READERS)}, {AUTO}"
        )
    accepted = inspect.signature(READERS[name]).parameters
    for option in options:
        if option not in accepted:
            raise WSignError(f"--{option} is not an option of {name}; leave it out")
    corpus = READERS[name](root, **options)
    notes = (*said, *corpus.notes)
    return dataclasses.replace(corpus, notes=notes, options={"root": root, **options})


def label_map(corpus: Corpus, file: pathlib.Path | None) -> dict[str, int]:
    """The id of each gloss: from `file`, or the corpus's sorted glosses from 1; the blank is 0."""
    if file is not None:
        mapping = files.read_json(file)
        return dict(Vocabulary.from_mapping(mapping, str(file)).ids)
    used = {gloss for record in corpus.records for gloss in record.glosses}
    # `check` reports the annotations whose gloss is not a valid name.
    names = sorted(filter(_is_name, used.union(corpus.glosses) - {BLANK}))
    return {BLANK: BLANK_ID} | {name: id for id, name in enumerate(names, start=1)}


def _is_name(gloss: str) -> bool:
    try:
        files.check_line(gloss, "")
    except WSignError:
        return False
    return True


def write(
    corpus: Corpus,
    out: pathlib.Path,
    settings: ImportSettings,
    extraction: Extraction | None = None,
    progress: Callable[[str], None] = print,
) -> None:
    """Writes a data set: features, labels, signers, label_map.json and dataset.json.

    The data set is made in a hidden folder beside `out` and moved to `out` once it is complete. A run
    that ends early, or in which clips fail, goes on when it is started again.

    Args:
        corpus: the corpus as read.
        out: a new or an empty folder.
        settings: see `ImportSettings`.
        extraction: reads videos and pictures; not needed for a corpus of keypoints.
        progress: is called with a line for everything that was done or left out.

    Raises:
        WSignError: `out` already holds something; annotations or clips cannot be used and `on_bad` is
            'error' (all are named); every clip was left out; or an unfinished data set has other
            settings.
    """
    ids = label_map(corpus, settings.label_map)
    usable, problems = check(corpus, ids)
    if problems and settings.on_bad == "error":
        raise WSignError(_listing(f"{corpus.name}: {len(problems)} bad annotations", problems))
    if not usable:
        raise WSignError(_listing(f"{corpus.name}: nothing to make a data set of", problems))
    for line in (*corpus.notes, *(f"warning: left out {problem}" for problem in problems)):
        progress(line)
    usable, shared = _with_splits(usable, settings.seed)
    for line in _doubts(usable, shared):
        progress(line)
    about = _about(corpus, settings, shared)
    with layout.new_dataset(out, corpus.name, resume=True) as root:
        _claim(root, about, usable)
        failed: list[str] = []
        counts = {}
        for split in layout.SPLITS:
            records = [record for record in usable if record.split == split]
            done, bad = _write_split(root, split, records, ids, settings, extraction)
            counts[split] = len(done)
            failed += bad
            progress(f"{split}: {len(done)} examples")
        if failed and settings.on_bad == "error":
            raise WSignError(
                _listing(
                    f"{len(failed)} of {len(usable)} clips failed; the others are kept for next time",
                    failed,
                )
            )
        for problem in failed:
            progress(f"warning: left out {problem}")
        if not any(counts.values()):
            raise WSignError(f"{corpus.name}: nothing is left to make a data set of")
        layout.write_label_map(root, ids)
        about |= _extracted(root) | {"examples": counts, "left_out": len(problems) + len(failed)}
        files.write_json(root / "dataset.json", about)
        (root / _MADE_OF).unlink()


def check(corpus: Corpus, ids: Mapping[str, int]) -> tuple[list[Record], list[str]]:
    """Returns the records that can be used, by split and id, and a line for each problem.

    Args:
        corpus: the corpus as read.
        ids: the vocabulary's ids by gloss.
    """
    problems = list(corpus.problems)
    usable: list[Record] = []
    taken: dict[tuple[str, str], str] = {}
    drawn = not all(record.split for record in corpus.records)  # then any two may share a split
    for record in corpus.records:
        outside = [g for g in record.glosses if ids.get(g, BLANK_ID) == BLANK_ID]
        place = ("" if drawn else record.split, record.id)
        first = taken.setdefault(place, record.where)
        try:
            _check_names(record)
        except WSignError as error:
            problems.append(str(error))
            continue
        if not record.glosses:
            problems.append(f"{record.where}: no glosses")
        elif outside:
            problems.append(f"{record.where}: gloss {outside[0]!r} is not in the vocabulary")
        elif first != record.where:
            problems.append(f"{record.where}: id {record.id!r} is that of {first} too; change one")
        else:
            usable.append(record)
    usable.sort(key=lambda record: (layout.SPLITS.index(record.split or "train"), record.id))
    return usable, problems


def _check_names(record: Record) -> None:
    """Raises a `WSignError` if a record's id, signer or gloss is not a valid name."""
    for gloss in record.glosses:
        files.check_line(gloss, f"{record.where}: gloss")
    files.check_id(record.id, f"{record.where}: the id")
    if record.signer:
        files.check_line(record.signer, f"{record.where}: the signer")


def group_of(record: Record) -> str:
    """The group that must stay in one split: the session, otherwise the signer, otherwise the record."""
    return record.session or record.signer or record.id


def _with_splits(records: list[Record], seed: int) -> tuple[list[Record], dict[str, list[str]]]:
    """Gives each record without a split one, by session or signer if there are enough; see `splits`.

    Returns:
        All records; and the glosses whose groups serve several splits, by those splits.
    """
    without = [record for record in records if not record.split]
    given = [record for record in records if record.split]
    groups = [group_of(record) for record in without]
    shared: dict[str, list[str]] = {}
    if all(len(record.glosses) == 1 for record in without):
        drawn, shared = splits.split_signs([r.glosses[0] for r in without], groups, seed)
    else:
        of_group = splits.split_groups([r.glosses for r in without], groups, seed)
        drawn = [of_group[group] for group in groups]
        if {record.split for record in given}.union(drawn) != set(layout.SPLITS):
            # Too few groups for all splits: by clip, if that fills more splits.
            of_clip = splits.split_groups(
                [r.glosses for r in without], [r.id for r in without], seed
            )
            alone = [of_clip[record.id] for record in without]
            if len(set(alone)) > len(set(drawn)):
                drawn = alone
                shared = {"all": sorted({gloss for r in without for gloss in r.glosses})}
    return given + [
        dataclasses.replace(record, split=split)
        for record, split in zip(without, drawn, strict=True)
    ], {kind: glosses for kind, glosses in shared.items() if glosses}


def _doubts(records: Sequence[Record], shared: Mapping[str, list[str]]) -> list[str]:
    """Returns warnings of splits that can tell little, before extraction takes hours."""
    lines = [
        f"warning: too few signers or sessions, whose clips serve {kind}: {', '.join(glosses)}"
        for kind, glosses in shared.items()
    ]
    present = {record.split for record in records}
    empty = [split for split in layout.SPLITS if split not in present]
    if empty:
        lines.append(
            f"warning: no clips for {' and '.join(empty)}; a training run needs train, val and test"
        )
    return lines


def _about(
    corpus: Corpus, settings: ImportSettings, shared: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The content of `dataset.json` without the counts: the same command gives the same again."""
    about: dict[str, Any] = {
        "corpus": corpus.name,
        "options": corpus.options,
        "seed": settings.seed,
        "fps": joints.FPS,
    }
    if shared:
        about["recorded_together"] = shared  # glosses whose sessions serve several splits
    return json.loads(json.dumps(about, default=str))


def _extracted(root: pathlib.Path) -> dict[str, Any]:
    """Reads the extraction's record from beside a split's features; {} if there were no videos."""
    for split in layout.SPLITS:
        path = root / split / "dataset.json"
        if path.exists():
            return {"extraction": files.read_json(path).get("extraction")}
    return {}


def _claim(root: pathlib.Path, about: dict[str, Any], records: Sequence[Record]) -> None:
    """Takes over an unfinished data set: checks its settings, removes features of other clips.

    Raises:
        WSignError: it was begun with other settings.
    """
    path, made_of = root / "dataset.json", root / _MADE_OF
    begun = files.read_json(path) if path.exists() else about
    # The annotations may have been fixed since then; the settings must be the same.
    if any(begun.get(name) != about[name] for name in ("corpus", "options", "seed", "fps")):
        raise WSignError(
            f"{root}: an unfinished data set with other settings; remove it to start afresh"
        )
    files.write_json(path, about)
    before = files.read_json(made_of) if made_of.exists() else {}
    now = {
        f"{record.split}/{record.id}": [str(record.source), record.start_s, record.end_s]
        for record in records
    }
    for split in layout.SPLITS:
        shutil.rmtree(root / split / "labels", ignore_errors=True)
        for features in (root / split / "features").glob("*.npy"):
            clip = f"{split}/{features.stem}"
            if clip not in now or before.get(clip) != now[clip]:
                features.unlink()
    files.write_json(made_of, now)


def _write_split(
    root: pathlib.Path,
    split: str,
    records: Sequence[Record],
    ids: Mapping[str, int],
    settings: ImportSettings,
    extraction: Extraction | None,
) -> tuple[list[Record], list[str]]:
    """Writes a split; returns the records that are done, and the problem of each of the others."""
    videos = [record for record in records if record.source is not None]
    problems = _extract(root / split / "features", videos, settings, extraction)
    done = []
    for record in records:
        labels = np.array([ids[gloss] for gloss in record.glosses])
        if record.keypoints is not None:
            try:
                positions, confidence = sample(record.keypoints(), record.where)
            except WSignError as error:
                problems[record.id] = str(error)
                continue
            if not confidence.any():
                problems[record.id] = f"{record.where}: no hand in any of its frames"
                continue
            features = joints.features_from_positions(positions, confidence)
            layout.write_example(root, split, record.id, features, labels)
        elif record.id not in problems:
            layout.write_labels(root, split, record.id, labels)
        if record.id not in problems:
            done.append(record)
    signers = {record.id: record.signer for record in done if record.signer}
    if signers:
        layout.write_signers(root, split, signers)
    return done, list(problems.values())


def _extract(
    folder: pathlib.Path,
    records: Sequence[Record],
    settings: ImportSettings,
    extraction: Extraction | None,
) -> dict[str, str]:
    """Extracts the videos' features into a folder; returns problems by id."""
    if not records:
        return {}
    if extraction is None:
        raise ValueError("a corpus of videos needs an extraction")
    folder.mkdir(parents=True, exist_ok=True)
    clips = [
        extraction.Clip(
            id=record.id,
            source=record.source,
            fps=record.fps,
            start_s=record.start_s,
            end_s=record.end_s,
            box=record.box,
        )
        for record in records
    ]
    reports = extraction.extract_clips(clips, folder, settings.extraction, settings.workers)
    return {report.id: f"{report.id}: {report.problem}" for report in reports if report.problem}


def _listing(headline: str, problems: Sequence[str]) -> str:
    if not problems:
        return headline
    return f"{headline}; fix them, or leave them out with --on_bad=skip\n  " + "\n  ".join(problems)

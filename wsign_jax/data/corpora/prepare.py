"""Makes a data set on disk from a corpus as read."""

import dataclasses
import inspect
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.corpora import (
    asl_fingerspelling,
    asl_signs,
    assign_splits,
    auto,
    folder,
    isharah,
    left_out,
    lsa64,
    mp_data,
    msasl,
    npz,
    people,
    phoenix2014,
    phoenix2014t,
)
from wsign_jax.data.corpora.assign_splits import AssignedSplits, SplitSettings
from wsign_jax.data.corpora.clip_checks import ClipNotes, check_hands
from wsign_jax.data.corpora.records import Corpus, Record, check_names, glosses_of, sample_keypoints
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
    # If something cannot be used: 'few' leaves it out, up to 5 % of a sign's clips, 'skip' leaves all of
    # it out, 'error' stops.
    on_bad: str = "few"
    splits: SplitSettings = dataclasses.field(default_factory=SplitSettings)
    workers: int = 0  # processes that read videos; 0: one per core
    extraction: Any = None  # settings of the extraction

    def __post_init__(self) -> None:
        if self.on_bad not in ("few", "error", "skip"):
            raise WSignError(f"--on_bad={self.on_bad}: write few, error or skip")
        if self.workers < 0:
            raise WSignError("--workers must be 0 or more")


def read_corpus(
    name: str, *roots: pathlib.Path, leave_out: Sequence[str] = (), **options: Any
) -> Corpus:
    """Reads a corpus by its name.

    Args:
        name: one of `READERS`, or `AUTO`, which tells the corpus by the files in the folder.
        roots: the folder of the corpus, or several that become one; their names tell people, sessions
            and splits as in `people`.
        leave_out: glosses whose clips are left out; `records.BACKGROUND` has names for background.
        options: arguments of that corpus's `read_corpus`.

    Raises:
        WSignError: the name, an option or a gloss to leave out is unknown, or the corpus cannot be read.
    """
    _check_apart(roots)
    said: tuple[str, ...] = ()
    if name == AUTO:
        found = [auto.find_corpus(root) for root in roots]
        if len(names := {each.name for each in found}) > 1:
            raise WSignError(f"the folders are {' and '.join(sorted(names))}; read them one by one")
        name, roots = found[0].name, tuple(each.root for each in found)
        said = tuple(f"read as {name}, for {each.why}: {each.command}" for each in found)
    if name not in READERS:
        raise WSignError(
            f"unknown corpus {name!r}; the known ones are {', '.join(READERS)}, {AUTO}"
        )
    accepted = inspect.signature(READERS[name]).parameters
    for option in options:
        if option not in accepted:
            raise WSignError(f"--{option} is not an option of {name}; leave it out")
    corpora = [READERS[name](root, **options) for root in roots]
    corpus = corpora[0] if len(roots) == 1 else _joined(corpora, people.place_sign_folders(roots))
    corpus = _without(corpus, leave_out)
    read_with = {"root": roots[0] if len(roots) == 1 else roots, **options}
    read_with |= {"leave_out": leave_out} if leave_out else {}
    return dataclasses.replace(corpus, notes=(*said, *corpus.notes), options=read_with)


def _check_apart(roots: Sequence[pathlib.Path]) -> None:
    """Raises a `WSignError` if a folder is one of the others, or in it: its clips would be in twice."""
    places = sorted((root.resolve(), root) for root in roots)
    for (place, root), (below, other) in itertools.pairwise(places):
        if below.is_relative_to(place):
            raise WSignError(f"--root={other}: is in --root={root} already; leave it out")


def _joined(corpora: Sequence[Corpus], places: Sequence[people.SignFolder]) -> Corpus:
    """Joins what was read from several folders."""
    records = [
        dataclasses.replace(
            record,
            id=place.prefix + record.id,
            signer=record.signer or place.signer,
            session=record.session or place.session,
            split=record.split or place.split,
        )
        for corpus, place in zip(corpora, places, strict=True)
        for record in corpus.records
    ]
    notes = (
        *people.describe_folders(places),
        *(note for corpus in corpora for note in corpus.notes),
    )
    recorded = {str(p.folder): c.recorded for c, p in zip(corpora, places, strict=True)}
    same = all(corpus.recorded == corpora[0].recorded for corpus in corpora)
    return Corpus(
        corpora[0].name,
        tuple(records),
        tuple(problem for corpus in corpora for problem in corpus.problems),
        tuple(dict.fromkeys(notes)),
        tuple(gloss for corpus in corpora for gloss in corpus.glosses),
        corpora[0].recorded if same else recorded,
    )


def _without(corpus: Corpus, leave_out: Sequence[str]) -> Corpus:
    """Leaves out the clips of some glosses, and says what is background."""
    used = {gloss for record in corpus.records for gloss in record.glosses}
    out = {name if name in used else "-".join(glosses_of(name)) for name in leave_out}
    if unknown := sorted(out - used - {""}):
        known = people.name_some(sorted(used)) or "none"
        raise WSignError(f"--leave_out={unknown[0]}: no such gloss; the glosses are: {known}")
    kept = [r for r in corpus.records if not out.intersection(r.glosses or [""])]
    notes = list(corpus.notes)
    if removed := len(corpus.records) - len(kept):
        notes.append(f"left out {removed} clips of {', '.join(leave_out)}")
    if background := [record for record in kept if not record.glosses]:
        notes.append(
            f"took {len(background)} clips as background, without a gloss, such as "
            f"{background[0].where}; --leave_out=background leaves them out"
        )
    signers = {record.signer for record in kept}
    notes += [*_alike("glosses", used - out), *_alike("signers", signers)]
    glosses = tuple(gloss for gloss in corpus.glosses if gloss not in out)
    return dataclasses.replace(corpus, records=tuple(kept), notes=tuple(notes), glosses=glosses)


def _alike(what: str, names: Collection[str]) -> list[str]:
    """Returns a warning of names that are the same but for capitals, if there are some."""
    same: dict[str, list[str]] = {}
    for name in sorted(names):
        same.setdefault(name.casefold(), []).append(name)
    twice = [", ".join(some) for some in same.values() if len(some) > 1]
    if not twice:
        return []
    return [
        f"warning: {what} that differ in capitals only: {people.name_some(twice)}; rename if one"
    ]


def label_map(corpus: Corpus, file: pathlib.Path | None) -> dict[str, int]:
    """The id of each gloss: from `file`, or the corpus's sorted glosses from 1; the blank is 0."""
    if file is not None:
        mapping = files.read_json(file)
        return dict(Vocabulary.from_mapping(mapping, str(file)).ids)
    used = {gloss for record in corpus.records for gloss in record.glosses}
    # `check_records` reports the annotations whose gloss is not a valid name.
    names = sorted(filter(_is_name, used.union(corpus.glosses) - {BLANK}))
    return {BLANK: BLANK_ID} | {name: id for id, name in enumerate(names, start=1)}


def _is_name(gloss: str) -> bool:
    try:
        files.check_line(gloss, "")
    except WSignError:
        return False
    return True


def write_dataset(
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
        WSignError: `out` already holds something; more annotations or clips cannot be used than
            `on_bad` allows (all are named); every clip was left out or is background; keypoints are no
            hands; or an
            unfinished data set has other settings.
    """
    ids = label_map(corpus, settings.label_map)
    usable, problems = check_records(corpus, ids)
    left_out.check_annotations(corpus.name, problems, usable, settings.on_bad)
    if usable and not any(record.glosses for record in usable):
        raise WSignError(
            f"{usable[0].where}: all {len(usable)} clips are background, without a gloss; rename the "
            "folders or files to the signs that they show"
        )
    assigned = assign_splits.assign_splits(usable, settings.splits)
    unused = [f"warning: left out {line}" for line in left_out.describe_problems(problems)]
    for line in (*corpus.notes, *unused, *assigned.lines):
        progress(line)
    check_hands(usable)
    usable = sorted(assigned.records, key=lambda r: (layout.SPLITS.index(r.split), r.id))
    places: dict[tuple[str, str], str] = {}
    for record in usable:
        first = places.setdefault((record.split, record.id), record.where)
        if first != record.where:
            raise WSignError(f"{record.where}: id {record.id!r} is that of {first} too; change one")
    about = _about(corpus, settings, assigned)
    with layout.new_dataset(out, corpus.name, resume=True) as root:
        _claim(root, about, usable)
        failed: list[tuple[Record, str]] = []
        seen, counts = ClipNotes(), {}
        for split in layout.SPLITS:
            records = [record for record in usable if record.split == split]
            bad = _write_split(root, split, records, ids, settings, extraction, seen)
            counts[split] = len(records) - len(bad)
            failed += bad
            progress(f"{split}: {counts[split]} examples")
        left_out.check_clips(failed, usable, settings.on_bad)
        if not any(counts.values()):
            raise WSignError(f"{corpus.name}: nothing is left to make a data set of")
        unused = left_out.describe_problems([problem for _, problem in failed])
        for line in (*(f"warning: left out {line}" for line in unused), *seen.lines()):
            progress(line)
        layout.write_label_map(root, ids)
        about |= _extracted(root) | {"examples": counts, "left_out": len(problems) + len(failed)}
        about["hands"] = seen.shares()
        files.write_json(root / "dataset.json", about)
        (root / _MADE_OF).unlink()


def check_records(corpus: Corpus, ids: Mapping[str, int]) -> tuple[list[Record], list[str]]:
    """Returns the records that can be used, in their order, and a line for each problem.

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
            check_names(record)
        except WSignError as error:
            problems.append(str(error))
            continue
        if outside:
            problems.append(f"{record.where}: gloss {outside[0]!r} is not in the vocabulary")
        elif first != record.where:
            problems.append(f"{record.where}: id {record.id!r} is that of {first} too; change one")
        else:
            usable.append(record)
    return usable, problems


def _about(corpus: Corpus, settings: ImportSettings, assigned: AssignedSplits) -> dict[str, Any]:
    """The content of `dataset.json` without the counts: the same command gives the same again."""
    about: dict[str, Any] = {
        "corpus": corpus.name,
        "options": corpus.options,
        "splits": dataclasses.asdict(settings.splits) | {"by": assigned.unit},
        "fps": joints.FPS,
    }
    if corpus.recorded:
        about["recorded"] = corpus.recorded
    if assigned.recorded_together:  # glosses whose sessions serve several splits
        about["recorded_together"] = assigned.recorded_together
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
    if any(begun.get(name) != about[name] for name in ("corpus", "options", "splits", "fps")):
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
        for written in ("labels", "segments"):
            shutil.rmtree(root / split / written, ignore_errors=True)
        for unit in ("signer", "session"):
            (root / split / f"{unit}s.csv").unlink(missing_ok=True)
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
    seen: ClipNotes,
) -> list[tuple[Record, str]]:
    """Writes a split; returns the records that failed, each with its problem."""
    videos = [record for record in records if record.source is not None]
    problems = _extract(root / split / "features", videos, settings, extraction)
    failed: list[tuple[Record, str]] = []
    for record in records:
        try:
            if record.id in problems:
                raise WSignError(problems[record.id])
            _write_clip(root, split, record, ids, seen)
        except WSignError as error:
            failed.append((record, str(error)))
    lost = {record.id for record, _ in failed}
    for unit in ("signer", "session"):
        groups = {r.id: group for r in records if r.id not in lost and (group := getattr(r, unit))}
        if groups:
            layout.write_groups(root, split, unit, groups)
    return failed


def _write_clip(
    root: pathlib.Path, split: str, record: Record, ids: Mapping[str, int], seen: ClipNotes
) -> None:
    """Writes a clip's labels, and its features if no extraction has; raises a `WSignError`."""
    labels = np.array([ids[gloss] for gloss in record.glosses], np.int32)
    if record.keypoints is None:
        features = validate.load_npy(root / split / "features" / f"{record.id}.npy")
        layout.write_labels(root, split, record.id, labels)
    else:
        positions, confidence = sample_keypoints(record.keypoints(), record.where)
        if not confidence.any():
            raise WSignError(f"{record.where}: no hand in any of its frames")
        features = joints.features_from_positions(positions, confidence)
        segments = None if record.segments is None else np.array(record.segments).reshape(-1, 2)
        layout.write_example(root, split, record.id, features, labels, segments)
    seen.add(split, record, features)


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

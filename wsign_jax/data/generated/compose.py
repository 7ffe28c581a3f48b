"""Composes sentences of isolated signs, for users without recordings of continuous signing.

A sentence's signs are clips of one signer, each at its own pace. The hands move smoothly from the end of
one sign to the start of the next. This is not continuous signing: real signers blend neighboring signs
into each other and shorten signs that can be guessed.

No clip serves two splits, and no recording session does if that is possible; see splits.py. A sentence
depends on the seed, its split and its number, never on other sentences.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate, vocab
from wsign_jax.data.corpora import prepare
from wsign_jax.data.corpora.assign_splits import SplitSettings, assign_splits
from wsign_jax.data.corpora.records import MOST_SECONDS, Corpus, Keypoints, Record, sample_keypoints
from wsign_jax.data.generated.sentences import Sentences
from wsign_jax.data.generated.signing import ease
from wsign_jax.keypoints import joints

_LONGEST = 100.0  # seconds of a sign or a transition, or times a clip's own duration
_ATTEMPTS = 1000  # to draw a sentence that one signer of a split can sign


@dataclasses.dataclass(frozen=True)
class ComposeSettings:
    """The settings of a composed data set; with the same clips they always make the same files."""

    train: int = 800  # sentences per split
    val: int = 100
    test: int = 100
    seed: int = 0
    pace: tuple[float, float] = (0.8, 1.25)  # times a clip's own duration, drawn for every sign
    seconds: tuple[float, float] | None = None  # a sign's duration, instead of its own
    transition: tuple[float, float] = (0.1, 0.3)  # seconds between two signs

    def __post_init__(self) -> None:
        for name in (*layout.SPLITS, "seed"):
            if getattr(self, name) < 0:
                raise WSignError(f"--{name}={getattr(self, name)}: give 0 or more")
        for name in ("pace", "seconds", "transition"):
            low, high = getattr(self, name) or (1.0, 1.0)
            if not 0 < low <= high <= _LONGEST:
                raise WSignError(
                    f"--{name}={low}:{high}: give two numbers over 0 and up to {_LONGEST:g}, the lower "
                    "first"
                )


@dataclasses.dataclass(frozen=True)
class ComposedSentence:
    """One composed example."""

    id: str
    signer: str  # '' if unknown
    glosses: tuple[str, ...]
    clips: tuple[str, ...]  # ids of the clips that it is made of
    features: np.ndarray  # (T, 42, 7) float32
    segments: np.ndarray  # (U, 2) float64 start and end of every sign in seconds


# ------------------------------------------------------------------------------------------- clips


def read_clips(
    source: pathlib.Path, label_map: pathlib.Path | None = None, **options: Any
) -> tuple[Corpus, dict[str, int]]:
    """Reads clips of single signs; returns them, and the ids of their glosses.

    The source is a data set in the project's layout (only its examples with exactly one label are used),
    a folder of .npz files, or `MP_Data`; see corpora/npz.py and corpora/mp_data.py, which take the
    options. Without a `label_map`, ids are those of the sorted glosses from 1.

    Raises:
        WSignError: there are no clips, or some cannot be used, for example because their gloss is not
            in the vocabulary; all are named.
    """
    if not source.is_dir():
        raise WSignError(f"{source}: no such folder; name the clips' with --source=DIR")
    if (source / "label_map.json").exists():
        if options:
            raise WSignError(f"--{min(options)} is not an option of a data set; leave it out")
        corpus = _read_dataset(source)
    else:
        kind = "npz" if any(source.glob("*.npz")) else "mp_data"
        # Background shows no sign to compose.
        corpus = prepare.read_corpus(kind, source, leave_out=("background",), **options)
    ids = prepare.label_map(corpus, label_map)
    _, problems = prepare.check_records(corpus, ids)
    problems += [
        f"{clip.where}: {len(clip.glosses)} glosses; a clip has one sign"
        for clip in corpus.records
        if len(clip.glosses) > 1
    ]
    if problems:
        raise WSignError(f"{source}: {len(problems)} bad clips\n  " + "\n  ".join(problems))
    return corpus, ids


def _read_dataset(root: pathlib.Path) -> Corpus:
    vocabulary = vocab.read_vocabulary(root)
    rules = validate.Rules(len(vocabulary), patch_size=1, max_seq_length=10**6)
    records = []
    others = 0
    for name in layout.SPLITS:
        if not (root / name).is_dir():
            continue
        split = layout.read_split(root, name, rules)
        signers = layout.read_groups(split.root, split.name, "signer")
        for index, (id, labels) in enumerate(zip(split.ids, split.labels, strict=True)):
            if len(labels) != 1:
                others += 1
                continue
            records.append(
                Record(
                    name,
                    id,
                    tuple(vocabulary.glosses(labels.tolist())),
                    split.place(index),
                    signer=signers.get(id, ""),
                    keypoints=_Example(split, index),
                )
            )
    if not records:
        raise WSignError(f"{root}: no example of a single sign in it; name a folder of such")
    notes = (f"left out {others} examples with more than one sign",) if others else ()
    return Corpus("dataset", tuple(records), notes=notes)


@dataclasses.dataclass(frozen=True)
class _Example:
    """The keypoints of an example on disk."""

    split: layout.Split
    index: int

    def __call__(self) -> Keypoints:
        features = self.split.features(self.index)
        confidence = features[:, joints.WRISTS, joints.CONFIDENCE]
        times = np.arange(len(features)) / joints.FPS
        return Keypoints(features[..., joints.POSITION].astype(np.float64), confidence, times)


def with_splits(
    clips: Sequence[Record], split_by: str, seed: int
) -> tuple[list[Record], dict[str, list[str]]]:
    """Gives every clip a split.

    `split_by` is 'given' to keep the clips' own splits; '', signer, session and clip are those of
    `SplitSettings`.

    Returns:
        The clips; and the glosses recorded in too few groups, by the splits that share groups.

    Raises:
        WSignError: `split_by` is 'given' but a clip has no split, or it is unknown.
    """
    if split_by == "given":
        if any(not clip.split for clip in clips):
            raise WSignError("--split_by=given: clips have no splits; write session or signer")
        return list(clips), {}
    assigned = assign_splits(clips, SplitSettings(split_by, seed=seed))
    return assigned.records, dict(assigned.recorded_together)


# --------------------------------------------------------------------------------------- composing


class Composer:
    """Makes any sentence of a data set, in any order."""

    def __init__(self, clips: Sequence[Record], sentences: Sentences, settings: ComposeSettings):
        """Sorts the clips by split, signer and gloss.

        Raises:
            WSignError: a split that should have sentences has no clips.
        """
        self._sentences = sentences
        self._settings = settings
        self._clips: dict[str, dict[str, dict[str, list[Record]]]] = {}
        for clip in clips:
            of_signer = self._clips.setdefault(clip.split, {}).setdefault(clip.signer, {})
            of_signer.setdefault(clip.glosses[0], []).append(clip)
        for split in layout.SPLITS:
            if getattr(settings, split) and split not in self._clips:
                raise WSignError(f"no clips for {split}; write --{split}=0, or --split_by=session")

    def compose(self, split: str, index: int) -> ComposedSentence:
        """Composes sentence `index` of a split.

        Raises:
            WSignError: no signer of the split has clips for the drawn glosses, a clip cannot be read,
                or the sentence lasts longer than `MOST_SECONDS`.
        """
        rng = np.random.default_rng([self._settings.seed, layout.SPLITS.index(split), index])
        signer, glosses = self._draw(rng, split)
        chosen = [self._choose(rng, self._clips[split][signer][gloss]) for gloss in glosses]
        signs = []
        frames = 0
        for clip, keypoints in chosen:
            signs.append(self._act(rng, clip, keypoints))
            frames += len(signs[-1][0])
            _check_length(frames, len(glosses))
        low, high = np.array(self._settings.transition) * joints.FPS
        pauses = np.round(rng.uniform(low, high, len(signs) - 1)).astype(int).tolist()
        _check_length(frames + sum(pauses), len(glosses))
        positions, confidence, spans = join_signs(signs, pauses)
        return ComposedSentence(
            f"{split}_{index:05d}",
            signer,
            tuple(glosses),
            tuple(clip.id for clip, _ in chosen),
            joints.features_from_positions(positions, confidence),
            spans / joints.FPS,
        )

    def _draw(self, rng: np.random.Generator, split: str) -> tuple[str, list[str]]:
        """Draws a signer, and glosses that this signer has clips of."""
        signers = sorted(self._clips[split])
        for _ in range(_ATTEMPTS):
            signer = signers[rng.integers(len(signers))]
            glosses = self._sentences.draw(rng, sorted(self._clips[split][signer]))
            if glosses:
                return signer, glosses
        raise WSignError(
            f"no signer of {split} has clips of all glosses of any of {_ATTEMPTS} sentences; record "
            "more, or write sentences with fewer different glosses"
        )

    def _choose(
        self, rng: np.random.Generator, clips: Sequence[Record]
    ) -> tuple[Record, Keypoints]:
        """Draws a clip that shows a hand, cut to the frames from the first hand to the last."""
        for number in rng.permutation(len(clips)):
            read = clips[number].keypoints
            assert read is not None
            keypoints = read()
            seen = np.flatnonzero((keypoints.confidence > 0).any(axis=1))
            if len(seen) > 1:
                rows = slice(seen[0], seen[-1] + 1)
                return clips[number], Keypoints(*(array[rows] for array in keypoints))
        raise WSignError(f"{clips[0].where}: neither this nor any like it shows a hand; remove it")

    def _act(
        self, rng: np.random.Generator, clip: Record, keypoints: Keypoints
    ) -> tuple[np.ndarray, np.ndarray]:
        """Plays a clip at a drawn pace: (n, 42, 3) positions and (n, 2) confidence at 60 Hz."""
        duration = keypoints.times[-1] - keypoints.times[0]
        if self._settings.seconds is None:
            stretch = rng.uniform(*self._settings.pace)
        else:
            # n frames span n - 1 frame intervals.
            frames = round(rng.uniform(*self._settings.seconds) * joints.FPS)
            stretch = max(frames - 1, 1) / joints.FPS / duration
        times = (keypoints.times - keypoints.times[0]) * stretch
        return sample_keypoints(keypoints._replace(times=times), clip.where)


def _check_length(frames: int, glosses: int) -> None:
    if frames > MOST_SECONDS * joints.FPS:
        raise WSignError(
            f"a sentence of {glosses} glosses lasts over {MOST_SECONDS} s; give shorter ones, or lower "
            "--pace, --seconds or --transition"
        )


def join_signs(
    signs: Sequence[tuple[np.ndarray, np.ndarray]], pauses: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins signs one after another, and moves the hands from each to the next.

    Joints move from the last pose of a sign to the first of the next along a straight line, as `ease`
    says. A hand that is not seen in both poses is absent in between.

    A sign has positions (n, 42, 3) and confidence (n, 2). Pauses are frames.

    Returns:
        (T, 42, 3) positions, (T, 2) confidence, and (signs, 2) first and end frame of every sign.
    """
    parts = [signs[0]]
    spans = [(0, len(signs[0][0]))]
    for (positions, confidence), pause in zip(signs[1:], pauses, strict=True):
        share = ease(np.arange(1, pause + 1) / (pause + 1))
        last, last_confidence = parts[-1][0][-1], parts[-1][1][-1]
        moved = last + (positions[0] - last) * share[:, None, None]
        both = np.minimum(last_confidence, confidence[0])
        start = spans[-1][1] + pause
        parts += [(moved, np.repeat(both[None], pause, axis=0)), (positions, confidence)]
        spans.append((start, start + len(positions)))
    return (
        np.concatenate([positions for positions, _ in parts]),
        np.concatenate([confidence for _, confidence in parts]),
        np.array(spans, np.float64),
    )


def write_dataset(
    out: pathlib.Path,
    composer: Composer,
    ids: Mapping[str, int],
    settings: ComposeSettings,
    about: Mapping[str, Any],
    progress: Callable[[str], None] = print,
) -> None:
    """Writes a whole data set, with segments; a killed run never leaves half a data set at `out`.

    `out` is a new or an empty folder, and `ids` are those of all glosses. `about` is what `dataset.json`
    says of clips and sentences. `progress` is called with a line for every split that is done.

    Raises:
        WSignError: `out` already holds something, or a sentence cannot be made.
    """
    with layout.new_dataset(out, "composed") as root:
        for split in layout.SPLITS:
            count = getattr(settings, split)
            signers: dict[str, str] = {}
            glosses = frames = 0
            for index in range(count):
                made = composer.compose(split, index)
                labels = np.array([ids[gloss] for gloss in made.glosses])
                layout.write_example(root, split, made.id, made.features, labels, made.segments)
                if made.signer:
                    signers[made.id] = made.signer
                glosses += len(labels)
                frames += len(made.features)
            if signers:
                layout.write_groups(root, split, "signer", signers)
            if count:
                progress(
                    f"{split}: {count} sentences of {glosses / count:.1f} glosses and "
                    f"{frames / count / joints.FPS:.1f} s on average"
                )
        layout.write_label_map(root, ids)
        files.write_json(
            root / "dataset.json",
            {"generator": __name__, **about}
            | {"settings": dataclasses.asdict(settings), "fps": joints.FPS},
        )

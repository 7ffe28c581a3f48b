"""Who trains and who tests: gives every clip of a corpus a split.

A corpus's own splits stay. Without any, no signer serves two splits, if three or more are known;
otherwise no session does; otherwise the last clips of each sign are held out.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from wsign_jax.common.errors import WSignError
from wsign_jax.data import splits
from wsign_jax.data.corpora import people, records
from wsign_jax.data.corpora.records import Record
from wsign_jax.data.layout import SPLITS

UNITS = ("signer", "session", "clip")


@dataclasses.dataclass(frozen=True)
class SplitSettings:
    """Who is held out.

    Raises:
        WSignError: a field is out of range, or a signer is in both lists.
    """

    split_by: str = ""  # signer, session or clip draws splits anew; '' keeps those that there are
    val_signers: tuple[str, ...] = ()
    test_signers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split_by not in ("", *UNITS):
            raise WSignError(f"--split_by={self.split_by}: write {', '.join(UNITS[:-1])} or clip")
        if both := sorted(set(self.val_signers) & set(self.test_signers)):
            raise WSignError(f"--val_signers and --test_signers share {both}; give each its own")
        if self.seed < 0:
            raise WSignError(f"--seed={self.seed}: give 0 or more")


@dataclasses.dataclass(frozen=True)
class AssignedSplits:
    """Clips with their splits, and how they came by them."""

    records: list[Record]
    lines: list[str]  # what a person should know of it
    recorded_together: Mapping[
        str, list[str]
    ]  # glosses whose groups serve several splits, by these
    unit: str  # signer, session or clip; 'given' if none was drawn


def assign_splits(found: Sequence[Record], settings: SplitSettings) -> AssignedSplits:
    """Gives every clip a split.

    Args:
        found: the clips, each sign's in the order of recording; a split of '' is to be drawn.
        settings: see `SplitSettings`.

    Raises:
        WSignError: a signer that is to be held out signs nothing, or a unit to split by is not known.
    """
    clips, open_splits = _held_out(found, settings)
    drawn = [clip for clip in clips if not clip.split]
    present = {clip.split for clip in clips}
    lines: list[str] = []
    if not drawn and "train" in present and present != set(SPLITS):
        missing = [split for split in SPLITS if split not in present]
        drawn = [clip for clip in clips if clip.split == "train"]
        open_splits = ("train", *missing)
        lines.append(f"no clips for {' and '.join(missing)}: they are taken from those of train")
    shared: dict[str, list[str]] = {}
    unit = "given"
    if drawn:
        unit = settings.split_by or _best_unit(drawn)
        if unit != "clip" and not any(getattr(clip, unit) for clip in drawn):
            raise WSignError(
                f"--split_by={unit}: no clip names its {unit}; name them, or leave it out"
            )
        of_clip, shared, unit = _draw(drawn, unit, settings.seed, open_splits)
        clips = [
            dataclasses.replace(clip, split=of_clip.get(id(clip), clip.split)) for clip in clips
        ]
    return AssignedSplits(clips, [*lines, *_lines(clips, unit, shared)], shared, unit)


def _held_out(
    found: Sequence[Record], settings: SplitSettings
) -> tuple[list[Record], tuple[str, ...]]:
    """Gives the clips of the signers who are named their split; returns the splits open to others."""
    given = {"val": settings.val_signers, "test": settings.test_signers}
    split_of: dict[str, str] = {}
    signers = {clip.signer for clip in found if clip.signer}
    for split, names in given.items():
        for name in names:
            same = {signer for signer in signers if _same_name(signer, name)}
            if not same:
                known = (
                    people.name_some(sorted(signers, key=records.natural_order))
                    or "nobody is named"
                )
                raise WSignError(
                    f"--{split}_signers={name}: signs no clip; the signers are: {known}"
                )
            split_of |= dict.fromkeys(same, split)
    open_splits = tuple(split for split in SPLITS if not given.get(split))
    clips = []
    for clip in found:
        others = "" if settings.split_by else clip.split
        if open_splits == ("train",) or (others and others not in open_splits):
            others = "train"
        clips.append(dataclasses.replace(clip, split=split_of.get(clip.signer, others)))
    return clips, open_splits


def _same_name(signer: str, name: str) -> bool:
    """Tells whether both name the same person: '10' is '010'."""
    return signer == name or (
        (signer + name).isdecimal() and signer.lstrip("0") == name.lstrip("0")
    )


def _best_unit(clips: Sequence[Record]) -> str:
    """The largest unit of which there is enough: three for three splits, or two at least."""
    counts = {unit: len({_group(clip, unit) for clip in clips}) for unit in UNITS[:-1]}
    for enough in (3, 2):
        for unit, count in counts.items():
            if count >= enough and any(getattr(clip, unit) for clip in clips):
                return unit
    return "clip"


def _group(clip: Record, unit: str) -> str:
    """The group of a clip; the clips of which it is not known are one group, or their signer's."""
    return clip.signer if unit == "signer" else clip.session or clip.signer


def _draw(
    clips: Sequence[Record], unit: str, seed: int, open_splits: tuple[str, ...]
) -> tuple[dict[int, str], dict[str, list[str]], str]:
    """Draws splits; returns them by the clips' identity, glosses that were cut, and the unit taken."""
    single = all(len(clip.glosses) <= 1 for clip in clips)
    if single:
        signs = ["".join(clip.glosses) for clip in clips]
        groups = [_group(clip, unit) if unit != "clip" else "" for clip in clips]
        drawn, shared = splits.split_signs(signs, groups, seed, open_splits)
    else:
        glosses = [clip.glosses for clip in clips]
        alone = [f"{number}" for number in range(len(clips))]
        groups = [_group(clip, unit) for clip in clips] if unit != "clip" else alone
        of_group = splits.split_groups(glosses, groups, seed, open_splits)
        if set(of_group.values()) != set(open_splits):  # too few groups
            unit, groups = "clip", alone
            of_group = splits.split_groups(glosses, groups, seed, open_splits)
        drawn, shared = [of_group[group] for group in groups], {}
    of_clip = {id(clip): split for clip, split in zip(clips, drawn, strict=True)}
    return of_clip, {kind: cut for kind, cut in shared.items() if cut}, unit


def _lines(clips: Sequence[Record], unit: str, shared: Mapping[str, list[str]]) -> list[str]:
    """Says who serves which split, and warns of what the splits cannot tell."""
    lines = []
    if unit in UNITS[:-1]:
        for split in SPLITS:
            names = {_group(clip, unit) or "unknown" for clip in clips if clip.split == split}
            lines.append(
                f"{split} by {unit}: {people.name_some(sorted(names, key=records.natural_order))}"
            )
    elif unit == "clip":
        single = all(len(clip.glosses) <= 1 for clip in clips)
        how = (
            ": the last third of each sign's clips goes to val and test"
            if single
            else ", at random"
        )
        lines.append(f"splits by clip{how}")
    lines += [
        f"warning: too few signers or sessions, whose clips serve {kind}: {', '.join(glosses)}"
        for kind, glosses in shared.items()
        if unit != "clip"
    ]
    if empty := [split for split in SPLITS if split not in {clip.split for clip in clips}]:
        lines.append(
            f"warning: no clips for {' and '.join(empty)}; a training run needs train, val and test"
        )
    served: dict[str, set[str]] = {}
    for clip in clips:
        served.setdefault(clip.signer, set()).add(clip.split)
    unknown = served.pop("", set())
    if both := [signer for signer, some in sorted(served.items()) if len(some) > 1]:
        lines.append(
            f"warning: the same people are in several splits ({people.name_some(both)}): results say "
            "little of new people; hold people out with --test_signers and --val_signers"
        )
    if len(unknown) > 1:
        lines.append(
            "warning: the signers are not known: whoever tests may have trained; give each a folder, or "
            "name them in the corpus's table"
        )
    return lines

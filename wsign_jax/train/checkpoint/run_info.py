"""The metadata of a checkpoint: JSON about its run, with checksums of everything."""

import dataclasses
import itertools
import math
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.train import config_schema
from wsign_jax.train.checkpoint import checksums

# The format of what is saved. It goes up with every change that the version before could not read, or
# that makes what it has saved unreadable. A checkpoint that does not name its format has format 1, in
# which every layer's parameters lie apart.
FORMAT = 2
_LAST_OF_FORMAT_1 = "b869d58"  # the commit


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """The information on its run that a checkpoint holds beside the arrays."""

    stage: int  # index into config.stages
    next_batch: int  # within the stage
    data: str  # fingerprint of the training data
    config: dict[str, Any]
    vocabulary: Vocabulary
    val_wer: float | None = None  # of these weights, if they were validated
    best_wer: float | None = None  # in this stage so far
    iterator: dict[str, Any] = dataclasses.field(default_factory=dict)  # grain's state

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as values that JSON can hold."""
        return {**dataclasses.asdict(self), "vocabulary": list(self.vocabulary.names)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunInfo":
        """Reads and checks what `to_json` returns: an older version, or anybody, may have written it.

        Raises:
            WSignError: a field is missing, unknown, of another kind or out of range.
        """
        where, counts, rate = "run", "a whole number from 0 up", "null or a number from 0 up"

        def field(name: str, kind: Any, holds: Any = None, allowed: str = "") -> Any:
            return files.field(value, name, where, kind, holds, allowed)

        def is_rate(x: float | None) -> bool:
            return x is None or 0 <= x < math.inf

        config = field("config", dict)
        config_schema.check_saved_config(config)
        stages = range(len(config["stages"]))
        names = field("vocabulary", list, lambda x: x and all(isinstance(n, str) for n in x))
        vocabulary = Vocabulary.from_mapping({name: id for id, name in enumerate(names)}, where)
        if len(names) != len({*names}):
            raise WSignError(f"{where}: a gloss is in 'vocabulary' twice")
        found = {
            "stage": field("stage", int, stages.__contains__, "the number of a stage"),
            "next_batch": field("next_batch", int, lambda x: x >= 0, counts),
            "val_wer": field("val_wer", (int, float, type(None)), is_rate, rate),
            "best_wer": field("best_wer", (int, float, type(None)), is_rate, rate),
            "data": field("data", str),
            "iterator": field("iterator", dict),
        }
        for name in value.keys() - found.keys() - {"config", "vocabulary"}:
            raise WSignError(f"{where}: {name!r} is unknown")
        return cls(config=config, vocabulary=vocabulary, **found)

    @property
    def rank(self) -> tuple[float, float] | None:
        """The key that sorts validated checkpoints, the best last: by stage, then by error.

        A later stage's model replaces the earlier one even if its error is higher, because it is
        trained for another use. None if these weights were not validated.
        """
        return None if self.val_wer is None else (self.stage, -self.val_wer)


def metadata(info: RunInfo, arrays: dict[str, int]) -> dict[str, Any]:
    """Returns what is saved beside the arrays: the run, and the checksum of every item."""
    about = {"run": info.to_json(), "arrays": arrays}
    return about | {"digest": checksums.checksum_of_json(about), "format": FORMAT}


def read_metadata(saved: dict[str, Any] | None) -> dict[str, Any]:
    """Checks what `metadata` returned; the fields of its run are left to `RunInfo.from_json`.

    Raises:
        WSignError: another version of this project wrote it.
        ValueError: it is damaged.
    """
    if not saved:
        raise ValueError("its metadata is gone")
    if (found := saved.get("format", 1)) != FORMAT:
        age, fix = "an older", f"read it with commit {_LAST_OF_FORMAT_1}, or name another --workdir"
        if found > FORMAT:
            age, fix = "a newer", "update the project"
        raise WSignError(
            f"written by {age} version of this project (format {found}; this one reads format "
            f"{FORMAT}); {fix}"
        )
    try:
        about = {name: files.field(saved, name, "metadata", dict) for name in ("run", "arrays")}
    except WSignError as error:
        raise of_another_version(error) from None
    if saved["digest"] != checksums.checksum_of_json(about):
        raise ValueError("bits of its metadata changed on disk")
    return about


def of_another_version(reason: WSignError) -> WSignError:
    """Returns the error for metadata that is whole, but not what this version writes."""
    return WSignError(
        f"written by another version of this project ({reason}); use that one, or another --workdir"
    )


def check_vocabulary(theirs: Vocabulary, ours: Vocabulary, source: str) -> None:
    """Raises a `WSignError` that names the first glosses in which two vocabularies differ."""
    if theirs == ours:
        return
    pairs = enumerate(itertools.zip_longest(theirs.names, ours.names, fillvalue="nothing"))
    differing = [f"{id}: {a!r} there, {b!r} here" for id, (a, b) in pairs if a != b]
    sizes = "" if len(theirs) == len(ours) else f"{len(theirs)} ids there, {len(ours)} here; "
    what = sizes + "; ".join(differing[:3])
    raise WSignError(f"{source}: another vocabulary ({what}); use the label_map.json it began with")

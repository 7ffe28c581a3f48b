"""The vocabulary: gloss names and their ids, read from `label_map.json`."""

import dataclasses
import functools
import pathlib
import reprlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError

BLANK = "<blank>"
BLANK_ID = 0
LARGEST_ID = 999_999  # far beyond any sign language; a typing mistake must not fill the memory
_SPARE_IDS = 1000  # ids without a gloss that any label map may have, however few its glosses are


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Names by id; `names[0]` is the blank, which is never a label.

    Raises:
        WSignError: id 0 is not the blank, two names are equal, or a name is not one line of text.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.names[:1] != (BLANK,):
            raise WSignError(f'id 0 belongs to "{BLANK}"; add "{BLANK}": 0')
        seen = set()
        for name in self.names:
            if not isinstance(name, str):
                raise WSignError(f"gloss {reprlib.repr(name)} is not text; rename it")
            files.check_line(name, "gloss")
            if name in seen:
                raise WSignError(f"gloss {name!r} has two ids; keep one")
            seen.add(name)

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each gloss by its name, the blank included."""
        return {name: id for id, name in enumerate(self.names)}

    def glosses(self, ids: Iterable[int]) -> list[str]:
        """Returns the names of a label sequence."""
        return [self.names[id] for id in ids]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], source: str) -> "Vocabulary":
        """Checks a `label_map.json`'s content; an id that no gloss uses is named `<unused-ID>`.

        Raises:
            WSignError: an id is not an integer, is out of range or is taken twice; too many ids have
                no gloss; or the names do not make a vocabulary.
        """
        names: dict[int, str] = {}
        for name, id in mapping.items():
            if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id <= LARGEST_ID:
                raise WSignError(
                    f"{source}: the id of {name!r} is {reprlib.repr(id)}; give a whole number, 0 to "
                    f"{LARGEST_ID}"
                )
            if id in names:
                raise WSignError(
                    f"{source}: {names[id]!r} and {name!r} share the id {id}; give each its own"
                )
            names[id] = name
        largest = max(names, default=BLANK_ID)
        if largest > 10 * len(names) + _SPARE_IDS:
            raise WSignError(
                f"{source}: {names[largest]!r} has the id {largest}, but there are {len(names)} names; "
                f"number them 0 to {len(names) - 1}"
            )
        named = {BLANK_ID: ""} | names
        try:
            return cls(tuple(named.get(id, f"<unused-{id}>") for id in range(largest + 1)))
        except WSignError as error:
            raise WSignError(f"{source}: {error}") from None


def read_vocabulary(root: pathlib.Path, vocab_size: int = 0) -> Vocabulary:
    """Reads `<root>/label_map.json`, padded with unused ids up to the model's `vocab_size`.

    0 takes the size that the file needs. With a size, a data set without `label_map.json` can be read,
    too: its glosses are then named by their ids.

    Raises:
        WSignError: the file is missing, is not a JSON object, or needs more than `vocab_size` ids.
    """
    path = root / "label_map.json"
    if path.exists():
        vocabulary = Vocabulary.from_mapping(files.read_json(path), str(path))
        if 0 < vocab_size < len(vocabulary):
            raise WSignError(
                f"config.model.vocab_size is {vocab_size}, but {path} needs {len(vocabulary)}; "
                "raise it, or set it to 0 to take it from the file"
            )
        unused = (f"<unused-{id}>" for id in range(len(vocabulary), vocab_size))
        return Vocabulary(vocabulary.names + tuple(unused))
    if vocab_size:
        return Vocabulary((BLANK, *(f"GLOSS-{id}" for id in range(1, vocab_size))))
    raise WSignError(
        f'{path}: no such file; write {{"{BLANK}": 0, "HELLO": 1, ...}} there, set '
        "config.model.vocab_size to name glosses by their ids, or make a data set in a new folder "
        "with tools/make_synthetic.py"
    )


def translate_labels(
    labels: Sequence[np.ndarray], own: Vocabulary, other: Vocabulary, source: str
) -> tuple[np.ndarray, ...]:
    """Returns (U,) labels in the ids of another vocabulary, matched by the glosses' names.

    Raises:
        WSignError: the other vocabulary lacks some of their glosses. It begins with `source`.
    """
    if own == other:
        return tuple(labels)
    used = sorted({int(id) for ids in labels for id in ids})
    unknown = [own.names[id] for id in used if own.names[id] not in other.ids]
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise WSignError(
            f"{source}: the model does not know {', '.join(map(repr, unknown[:3]))}{more}; leave these "
            "recordings out, and add the sign with tools/enroll.py or train a new model with it"
        )
    ids = np.array([other.ids.get(name, BLANK_ID) for name in own.names], np.int32)
    return tuple(ids[sequence] for sequence in labels)

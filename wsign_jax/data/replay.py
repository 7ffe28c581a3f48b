"""Mixes a data set with another one, so that training on the first does not forget the second."""

import dataclasses

import numpy as np

from wsign_jax.data.layout import Split

_DRAW = 4  # the stream of random numbers that draws what is replayed; training uses 0 to 3
REPLAYED = 1  # examples replayed in an epoch for each of one's own


@dataclasses.dataclass(frozen=True)
class MixedSplit(Split):
    """A split's own examples, followed by those of another one, of which each epoch draws some."""

    parts: tuple[Split, Split]

    def place(self, index: int) -> str:
        """The name of one example's features for messages."""
        part, index = self._find(index)
        return part.place(index)

    def stored(self, index: int) -> np.ndarray:
        """Reads the (T, 42, 7) features of one example as they are on disk; see `Split.stored`."""
        part, index = self._find(index)
        return part.stored(index)

    def features(self, index: int) -> np.ndarray:
        """Reads the (T, 42, 7) features of one example; see `Split.features`."""
        part, index = self._find(index)
        return part.features(index)

    def members(self, seed: int, epoch: int) -> np.ndarray:
        """Returns the examples of an epoch: all of one's own, and some of the other part, drawn anew."""
        own, other = map(len, self.parts)
        rng = np.random.default_rng([seed, epoch, _DRAW])
        drawn = own + rng.choice(other, min(other, REPLAYED * own), replace=False)
        return np.concatenate([np.arange(own), np.sort(drawn)]).astype(np.int32)

    def _find(self, index: int) -> tuple[Split, int]:
        own, other = self.parts
        return (own, index) if index < len(own) else (other, index - len(own))


def mix_splits(own: Split, other: Split) -> MixedSplit:
    """Mixes a split with examples of `other`, whose labels must be ids of the same vocabulary."""
    return MixedSplit(
        root=own.root,
        name=own.name,
        ids=own.ids + other.ids,
        frames=np.concatenate([own.frames, other.frames]),
        labels=own.labels + other.labels,
        aspect=own.aspect,
        skipped=own.skipped + other.skipped,
        examples=own.examples,
        parts=(own, other),
    )

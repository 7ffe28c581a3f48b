"""Draws the glosses of sentences: uniformly, by a function, or like the sentences of a text."""

import dataclasses
import pathlib
import runpy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError, one_line, shown

_MOST_GLOSSES = 1000  # per sentence


class Sentences(Protocol):
    """Draws the glosses of sentences."""

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """Draws a sentence's glosses; returns None if one of them is not among those `available`."""


@dataclasses.dataclass(frozen=True)
class UniformSentences:
    """Draws every available gloss equally often."""

    shortest: int = 3
    longest: int = 8
    repeat: float = 0.1  # probability that a gloss comes twice in a row on purpose

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest <= _MOST_GLOSSES:
            raise WSignError(
                f"--shortest={self.shortest} --longest={self.longest}: give 1 to {_MOST_GLOSSES}, the "
                "lower first"
            )
        if not 0 <= self.repeat <= 1:
            raise WSignError(f"--repeat={self.repeat}: give 0 to 1")

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str]:
        """See `Sentences`."""
        count = int(rng.integers(self.shortest, self.longest + 1))
        glosses = [available[n] for n in rng.integers(len(available), size=count)]
        for place in np.flatnonzero(rng.random(count - 1) < self.repeat):
            glosses[place + 1] = glosses[place]
        return glosses


@dataclasses.dataclass(frozen=True)
class MixedSentences:
    """Draws from one kind of sentences with a given probability, otherwise from another."""

    first: Sentences
    second: Sentences
    share: float  # the probability of the second

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise WSignError(f"--uniform={self.share}: give 0 to 1")

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """See `Sentences`."""
        kind = self.second if rng.random() < self.share else self.first
        return kind.draw(rng, available)


class WrittenSentences:
    """Draws sentences by the function `sentence` of a Python file, such as `tools/asl_sentences.py`.

    It gets a `np.random.Generator` and the glosses that a signer has clips of, and returns a list of
    glosses. If that is empty, or the signer lacks one of them, it is called again.
    """

    def __init__(self, path: pathlib.Path, glosses: Sequence[str]):
        """Runs the file with the glosses of the vocabulary.

        Raises:
            WSignError: it cannot be run, or has no such function.
        """
        self._path, self._glosses = path, set(glosses)
        try:
            sentence = runpy.run_path(str(path)).get("sentence")
        except OSError:
            raise
        except Exception as error:
            raise WSignError(f"{path}: {one_line(error)}") from error
        if not callable(sentence):
            raise WSignError(f"{path}: has no function sentence(rng, glosses); write one")
        self._sentence: Callable[..., Any] = sentence

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """See `Sentences`.

        Raises:
            WSignError: the function fails, or does not return glosses of the vocabulary.
        """
        try:
            drawn = self._sentence(rng, available)
        except Exception as error:
            raise WSignError(f"{self._path}: sentence: {one_line(error)}") from error
        if not isinstance(drawn, list) or not all(isinstance(gloss, str) for gloss in drawn):
            raise WSignError(
                f"{self._path}: sentence returns {shown(drawn)}; return a list of glosses"
            )
        if outside := sorted(set(drawn) - self._glosses):
            raise WSignError(f"{self._path}: gloss {outside[0]!r} is not in the vocabulary")
        return drawn if set(drawn) <= set(available) else None


# ----------------------------------------------------------------------------------------- n-grams


class TextSentences:
    """Draws sentences like those of a text: each gloss as often as it follows the glosses before it.

    A context has `order` - 1 glosses; the beginning and the end of a sentence count as glosses. Only
    contexts of the text ever occur, so no smoothing is needed.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], order: int):
        self._order = order
        self._following: dict[tuple[str, ...], list[str]] = {}
        for sentence in sentences:
            padded = [""] * (order - 1) + list(sentence) + [""]
            for place in range(order - 1, len(padded)):
                context = tuple(padded[place - order + 1 : place])
                self._following.setdefault(context, []).append(padded[place])
        self._longest = max(map(len, sentences))

    @classmethod
    def read(cls, path: pathlib.Path, glosses: Sequence[str], order: int) -> "TextSentences":
        """Reads a text: one sentence per line, glosses separated by spaces.

        With `order` 2, a gloss depends on the one before it.

        Raises:
            WSignError: the file has no sentences, or a gloss is outside the vocabulary; then the
                message names the line.
        """
        if order < 1:
            raise WSignError(f"--order={order}: give 1 or more")
        known = set(glosses)
        sentences = []
        for number, line in enumerate(tables.read_text(path).splitlines(), start=1):
            words = line.split()
            outside = [word for word in words if word not in known]
            if outside:
                raise WSignError(f"{path}:{number}: gloss {outside[0]!r} is not in the vocabulary")
            if words:
                sentences.append(words)
        if not sentences:
            raise WSignError(f"{path}: no sentences in it; write one a line")
        return cls(sentences, order)

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """See `Sentences`; returns None, too, if a sentence gets longer than the text's longest."""
        glosses: list[str] = []
        while len(glosses) <= self._longest:
            padded = [""] * (self._order - 1) + glosses
            following = self._following[tuple(padded[len(padded) - self._order + 1 :])]
            word = following[rng.integers(len(following))]
            if not word:
                return glosses or None
            if word not in available:
                return None
            glosses.append(word)
        return None

"""Draws the glosses of sentences: uniformly, from a grammar, or like the sentences of a text.

A grammar file has one rule per line; a sentence begins at the rule `sentence`:

    # sizes before drinks
    sentence = hello i can get a <size> <drink> please | no no <drink>
    sentence 0.5 = <letter>{3,8}
    size = small | medium | large
    drink = coffee | tea | water
    letter = fs-*

`|` separates alternatives; several rules with the same name are alternatives too. Alternatives are drawn
equally often, unless a number after the name gives the weight of each alternative of the line. `<name>`
is replaced by a draw of that rule. `{3,8}` repeats the item before it 3 to 8 times, drawn anew each
time. A `*` within a gloss stands for any text: one of the glosses that match is drawn. Lines that begin
with # are comments.
"""

import dataclasses
import fnmatch
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError

_START = "sentence"
_MOST_REPEATS = 100
_MOST_GLOSSES = 1000  # per sentence
_DEEPEST = 100  # rules within rules
_LARGEST_WEIGHT = 1e6


class Sentences(Protocol):
    """Draws the glosses of sentences."""

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """Draws a sentence's glosses; returns None if one of them is not among those `available`."""


@dataclasses.dataclass(frozen=True)
class Uniform:
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
class Mixture:
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


# ----------------------------------------------------------------------------------------- grammar


@dataclasses.dataclass(frozen=True)
class _Item:
    text: str  # a gloss, a pattern, or a rule's name
    is_rule: bool
    fewest: int = 1
    most: int = 1


@dataclasses.dataclass(frozen=True)
class _Alternative:
    items: tuple[_Item, ...]
    weight: float
    where: str


class Grammar:
    """Draws sentences from a grammar file."""

    def __init__(self, rules: Mapping[str, Sequence[_Alternative]]):
        self._rules = rules

    @classmethod
    def read(cls, path: pathlib.Path, glosses: Sequence[str]) -> "Grammar":
        """Reads and checks a grammar.

        Args:
            path: the file.
            glosses: the vocabulary.

        Raises:
            WSignError: a line is not a rule, a name is unknown, a gloss is outside the vocabulary, a
                rule leads back to itself, or sentences may get too long. The message names the file
                and, if there is one, the line.
        """
        rules: dict[str, list[_Alternative]] = {}
        for number, line in enumerate(tables.read_text(path).splitlines(), start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                name, alternatives = _parse_line(line, f"{path}:{number}")
                rules.setdefault(name, []).extend(alternatives)
        if _START not in rules:
            raise WSignError(f"{path}: no rule '{_START} = ...'; sentences begin there")
        for alternatives in rules.values():
            for alternative in alternatives:
                _check_names(alternative, rules, glosses)
        sizes: dict[str, tuple[int, int]] = {}
        for name in rules:
            _measure(name, rules, (), sizes)
        return cls(rules)

    def draw(self, rng: np.random.Generator, available: Sequence[str]) -> list[str] | None:
        """See `Sentences`."""
        glosses = self._expand(_START, rng, available)
        return None if None in glosses else [gloss for gloss in glosses if gloss is not None]

    def _expand(
        self, name: str, rng: np.random.Generator, available: Sequence[str]
    ) -> list[str | None]:
        alternatives = self._rules[name]
        weights = np.array([alternative.weight for alternative in alternatives])
        chosen = alternatives[int(rng.choice(len(alternatives), p=weights / weights.sum()))]
        glosses: list[str | None] = []
        for item in chosen.items:
            for _ in range(int(rng.integers(item.fewest, item.most + 1))):
                if item.is_rule:
                    glosses += self._expand(item.text, rng, available)
                    continue
                matching = _matching(item.text, available)
                glosses.append(matching[rng.integers(len(matching))] if matching else None)
        return glosses


def _parse_line(line: str, where: str) -> tuple[str, list[_Alternative]]:
    rule = re.fullmatch(r"\s*([\w-]+)(?:\s+([\d.]+))?\s*=(.*)", line)
    if rule is None:
        raise WSignError(f"{where}: {line.strip()!r} is no rule; write NAME = GLOSS <RULE> ...")
    name, number, text = rule.groups()
    try:
        weight = float(number or 1)
    except ValueError:
        weight = math.nan
    if not 1 / _LARGEST_WEIGHT <= weight <= _LARGEST_WEIGHT:
        raise WSignError(
            f"{where}: weight {number} of {name!r}; write a number over 0, up to {_LARGEST_WEIGHT:.0f}"
        )
    alternatives = []
    for part in text.split("|"):
        items = tuple(_parse_item(word, where) for word in part.split())
        if not items:
            raise WSignError(f"{where}: an empty alternative of {name!r}; write glosses or <RULE>s")
        alternatives.append(_Alternative(items, weight, where))
    return name, alternatives


def _parse_item(word: str, where: str) -> _Item:
    item = re.fullmatch(r"(?:<([\w-]+)>|([^<>{}]+))(?:\{(\d{1,9})(?:,(\d{1,9}))?\})?", word)
    if item is None:
        raise WSignError(f"{where}: {word!r}; write a gloss, <RULE>, or either with {{3,8}} behind")
    rule, gloss, fewest, most = item.groups()
    low = int(fewest or 1)
    high = int(most or low)
    if not 1 <= low <= high <= _MOST_REPEATS:
        raise WSignError(f"{where}: repeats in {word!r}; write 1 to {_MOST_REPEATS}, fewest first")
    return _Item(rule or gloss, rule is not None, low, high)


def _check_names(
    alternative: _Alternative, rules: Mapping[str, object], glosses: Sequence[str]
) -> None:
    for item in alternative.items:
        if item.is_rule and item.text not in rules:
            raise WSignError(
                f"{alternative.where}: no rule {item.text!r}; it has {', '.join(rules)}"
            )
        if not item.is_rule and not _matching(item.text, glosses):
            raise WSignError(f"{alternative.where}: gloss {item.text!r} is not in the vocabulary")


def _measure(
    name: str,
    rules: Mapping[str, Sequence[_Alternative]],
    path: tuple[str, ...],
    sizes: dict[str, tuple[int, int]],
) -> tuple[int, int]:
    """Returns the most glosses that a rule can make, and how many rules lie within each other in it.

    Args:
        name: the rule's name.
        rules: all rules.
        path: the rules that led to this one.
        sizes: the results for rules that were measured before; this rule's is added.

    Raises:
        WSignError: a rule leads back to itself, is nested too deep, or makes too many glosses.
    """
    if name in sizes:
        return sizes[name]
    most, deepest = 0, 0
    for alternative in rules[name]:
        glosses = 0
        for item in alternative.items:
            length, depth = 1, 0
            if item.is_rule:
                if item.text in (*path, name):
                    raise WSignError(f"{alternative.where}: <{item.text}> leads back to itself")
                if len(path) < _DEEPEST:
                    length, depth = _measure(item.text, rules, (*path, name), sizes)
                if len(path) + depth >= _DEEPEST:
                    raise WSignError(
                        f"{alternative.where}: more than {_DEEPEST} rules within each other; write some "
                        "of them out"
                    )
            glosses += item.most * length
            deepest = max(deepest, depth + 1)
        if glosses > _MOST_GLOSSES:
            raise WSignError(
                f"{alternative.where}: {name!r} makes up to {glosses} glosses, and the most is "
                f"{_MOST_GLOSSES}; repeat less"
            )
        most = max(most, glosses)
    sizes[name] = most, deepest
    return sizes[name]


def _matching(text: str, glosses: Sequence[str]) -> list[str]:
    """Returns the glosses that an item's text stands for; only * is special."""
    if "*" not in text:
        return [text] if text in glosses else []
    pattern = re.sub(r"([\[?])", r"[\1]", text)
    return [gloss for gloss in glosses if fnmatch.fnmatchcase(gloss, pattern)]


# ----------------------------------------------------------------------------------------- n-grams


class NGrams:
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
    def read(cls, path: pathlib.Path, glosses: Sequence[str], order: int) -> "NGrams":
        """Reads a text: one sentence per line, glosses separated by spaces.

        Args:
            path: the file.
            glosses: the vocabulary.
            order: 1 or more; with 2, a gloss depends on the one before it.

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

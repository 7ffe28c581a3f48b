"""Reads and writes n-gram models as ARPA files, the format of SRILM and KenLM.

    \\data\\
    ngram 1=4
    ngram 2=2

    \\1-grams:
    -99<TAB><s><TAB>-0.30
    -0.60<TAB></s>
    -0.30<TAB>HELLO<TAB>-0.20
    -0.60<TAB><unk>

    \\2-grams:
    -0.10<TAB><s> HELLO
    -0.20<TAB>HELLO </s>

    \\end\\

Numbers are log10 of the probability and of the back-off weight, which is 1 if it is left out. A gloss is
one word; white space in its name is `_` in the file.
"""

import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.lm import ngrams

_START, _END = "<s>", "</s>"
_UNKNOWN = ("<unk>", "<UNK>")
_UNKNOWN_ID = -1
_NEVER = -99.0  # log10 that toolkits write for probability 0
_LARGEST_WEIGHT = 99.0  # log10
_NAMED = 5  # glosses that a message lists


def words_of(vocabulary: Vocabulary) -> list[str]:
    """Returns the word of every id; `</s>` for 0.

    Raises:
        WSignError: two glosses would be the same word, or a gloss a reserved word.
    """
    words = [_END]
    taken = {word: word for word in (_START, _END, *_UNKNOWN)}
    for name in vocabulary.names[1:]:
        word = "_".join(name.split())
        if word in taken:
            raise WSignError(
                f"label_map.json: the gloss {name!r} is {taken[word]!r} too in an ARPA file; rename it"
            )
        taken[word] = name
        words.append(word)
    return words


# ------------------------------------------------------------------------------------------ writing


def write(
    path: pathlib.Path, levels: ngrams.Levels, vocabulary: Vocabulary, replace: bool = False
) -> None:
    """Writes a model, for example from `ngrams.estimate`, through a temporary name.

    Raises:
        WSignError: the file exists and `replace` is not set, or it is another vocabulary, or one with
            names that do not fit.
    """
    if path.exists() and not replace:
        raise WSignError(f"{path}: exists; remove it, or give another name")
    if len(vocabulary) != len(levels[0].labels):
        raise WSignError(
            f"{path}: the language model has {len(levels[0].labels)} labels and the vocabulary "
            f"{len(vocabulary)}; take the label_map.json that it was made with"
        )
    words = words_of(vocabulary)
    sections = [_lines_of(levels, order, words) for order in range(1, len(levels) + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(lines)}" for n, lines in enumerate(sections, 1))]
    for order, section in enumerate(sections, 1):
        lines += ["", f"\\{order}-grams:", *section]
    files.write(path, "\n".join([*lines, "", "\\end\\", ""]).encode())


def _lines_of(levels: ngrams.Levels, order: int, words: list[str]) -> list[str]:
    level = levels[order - 1]
    probs, weights = (_log10(x) for x in (level.log_probs, level.backoffs))
    weighted = order < len(levels)
    # Row 0 of order 1 is the end; its weight belongs to the start, which gets a line of its own.
    lines = ["\t".join([f"{_NEVER:g}", _START, *weights[:weighted]])] if order == 1 else []
    for row, labels in enumerate(ngrams.sequences(levels, order).tolist()):
        gram = [words[label] for label in labels]
        if order > 1 and labels[0] == 0:
            gram[0] = _START
        # Nothing follows the end, so it has no weight.
        weight = [weights[row]] if weighted and labels[-1] else []
        lines.append("\t".join([probs[row], " ".join(gram), *weight]))
    return lines


def _log10(values: np.ndarray) -> list[str]:
    return [f"{value:.7f}" for value in (values / math.log(10)).tolist()]


# ------------------------------------------------------------------------------------------ reading


def read(path: pathlib.Path, vocabulary: Vocabulary) -> ngrams.Levels:
    """Reads a model over the glosses of a vocabulary.

    Glosses of the vocabulary that the file lacks get the probability of its `<unk>` or, without one, of
    its least likely word; a warning says so. Longer n-grams with `<unk>` are left out. `lookup` scales
    the probabilities to the sum 1 again when it prepares the model for a search.

    Raises:
        WSignError: the file is missing, cut off or damaged, or has glosses that are not in the
            vocabulary. The message names the file and the line.
    """
    lines = _Lines(path)
    counts = _header(lines)
    level, ids = _first_level(lines, counts, vocabulary)
    levels = [level]
    rows: dict[tuple[int, ...], int] = {(id,): id for id in range(len(vocabulary))}
    for order in range(2, len(counts) + 1):
        level, rows = _next_level(lines, order, counts, ids, rows)
        levels.append(level)
    if lines.current != "\\end\\":
        lines.fail(
            f"{lines.current!r} where \\end\\ belongs; correct the header or remove the rest"
        )
    if lines.advance(may_end=True):
        lines.fail("there is more after \\end\\; keep one model in a file")
    return tuple(levels)


class _Lines:
    """The lines of a file that are not empty, one at a time."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.current = ""
        self.number = 0
        try:
            self._lines = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise WSignError(
                f"{path}: no such file; name an ARPA file, or make one from training labels"
            ) from None
        except UnicodeDecodeError as error:
            raise WSignError(f"{path}: not UTF-8 text ({error}); write it again") from None

    def advance(self, may_end: bool = False) -> str:
        """Goes to the next line and returns it; '' at the end of the file if `may_end`."""
        self.current = ""
        while not self.current and self.number < len(self._lines):
            self.number += 1
            self.current = self._lines[self.number - 1].strip()
        if not self.current and not may_end:
            self.fail("the file ends before \\end\\, so it is cut off; copy or make it again")
        return self.current

    def fail(self, problem: str, number: int = 0) -> NoReturn:
        """Raises an error about a line, the current one by default."""
        raise WSignError(f"{self.path}, line {number or self.number}: {problem}")


def _header(lines: _Lines) -> list[int]:
    """Returns the header's number of n-grams of every order; stops at the first section's title."""
    while lines.advance(may_end=True) != "\\data\\":
        if not lines.current:
            lines.fail("no \\data\\ up to here: empty, or no ARPA file; name another")
    counts: list[int] = []
    while not lines.advance().startswith("\\"):
        match = re.fullmatch(r"ngram\s+(\d{1,3})\s*=\s*(\d{1,18})", lines.current)
        if not match or int(match[1]) != len(counts) + 1:
            lines.fail(
                f"{lines.current[:80]!r} where 'ngram {len(counts) + 1}=COUNT' belongs; correct it"
            )
        counts.append(int(match[2]))
    if not counts:
        lines.fail("no 'ngram 1=COUNT' before it; copy or make the file again")
    return counts


def _section(
    lines: _Lines, order: int, counts: list[int]
) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yields the words, log probability and log weight of every n-gram of an order."""
    if lines.current != f"\\{order}-grams:":
        lines.fail(f"{lines.current!r} where \\{order}-grams: belongs; copy or make the file again")
    weighted = order < len(counts)
    seen = set()
    while not lines.advance().startswith("\\"):
        columns = lines.current.split()
        if not order + 1 <= len(columns) <= order + 1 + weighted:
            lines.fail(
                f"{len(columns)} columns; give a log probability, {order} gloss"
                f"{'es' * (order > 1)}{' and perhaps a back-off weight' * weighted}"
            )
        words = tuple(columns[1 : order + 1])
        if words in seen:
            lines.fail(f"{' '.join(words)!r} is in the file twice; keep one")
        seen.add(words)
        weight = columns[order + 1] if len(columns) > order + 1 else "0"
        yield words, _natural(lines, columns[0], 0.0), _natural(lines, weight, _LARGEST_WEIGHT)
    if len(seen) != counts[order - 1]:
        lines.fail(
            f"{len(seen)} {order}-grams before it, and the header says {counts[order - 1]}; "
            "copy or make the file again"
        )


def _natural(lines: _Lines, text: str, largest: float) -> float:
    """Converts a file's log10 to a natural logarithm."""
    try:
        value = float(text)
    except ValueError:
        lines.fail(f"{text!r} is not a number; correct it")
    if not value <= largest:
        lines.fail(f"{text!r} is not a log10 up to {largest:g}; correct it")
    return max(value, _NEVER) * math.log(10)


def _first_level(
    lines: _Lines, counts: list[int], vocabulary: Vocabulary
) -> tuple[ngrams.Level, dict[str, int]]:
    """Returns the level of order 1, and the ids of the words that the file has."""
    known = {word: id for id, word in enumerate(words_of(vocabulary))}
    probs = np.full(len(vocabulary), -np.inf)
    weights = np.zeros(len(vocabulary))
    ids: dict[str, int] = {}
    unknown = None
    outside: list[tuple[str, int]] = []
    for (word,), prob, weight in _section(lines, 1, counts):
        if word in _UNKNOWN:
            ids[word], unknown = _UNKNOWN_ID, prob
        elif word == _START:
            ids[word], weights[0] = 0, weight
        elif word == _END:
            ids[word], probs[0] = 0, prob
        elif word in known:
            ids[word] = known[word]
            probs[known[word]], weights[known[word]] = prob, weight
        else:
            outside.append((word, lines.number))
    if outside:
        lines.fail(
            f"{len(outside)} of {counts[0]} words are not in the vocabulary "
            f"({_some([word for word, _ in outside])}); take the label_map.json that belongs to the "
            "language model, or make the language model from this vocabulary",
            outside[0][1],
        )
    if _END not in ids:
        lines.fail(f"no {_END} among the 1-grams; make the file again with sentence ends")
    missing = np.flatnonzero(np.isinf(probs))
    if len(missing):
        print(
            f"warning: {lines.path}: {len(missing)} of {len(vocabulary) - 1} glosses are not in it "
            f"({_some(vocabulary.glosses(missing))}); they get the probability of "
            + ("its least likely word" if unknown is None else "<unk>"),
            flush=True,
        )
        probs[missing] = np.min(probs[np.isfinite(probs)]) if unknown is None else unknown
    labels = np.arange(len(vocabulary))
    return ngrams.Level(np.zeros_like(labels), labels, probs, weights), ids


def _some(names: list[str]) -> str:
    return ", ".join([*names[:_NAMED], *["..."][: len(names) > _NAMED]])


def _next_level(
    lines: _Lines,
    order: int,
    counts: list[int],
    ids: Mapping[str, int],
    before: Mapping[tuple[int, ...], int],
) -> tuple[ngrams.Level, dict[tuple[int, ...], int]]:
    """Returns the level of an order above 1, and the rows of its n-grams.

    Args:
        lines: the file.
        order: of the n-grams.
        counts: from the header.
        ids: of the words that the file has.
        before: rows of the n-grams in the level before.
    """
    grams: list[tuple[int, ...]] = []
    columns: list[tuple[int, int, float, float]] = []
    for words, prob, weight in _section(lines, order, counts):
        strange = [word for word in words if word not in ids]
        if strange:
            lines.fail(f"{strange[0]!r} is not among the 1-grams; make the file again")
        if _START in words[1:] or _END in words[:-1]:
            lines.fail(f"{_START} only begins, {_END} only ends an n-gram; make the file again")
        gram = tuple(ids[word] for word in words)
        if _UNKNOWN_ID in gram:
            continue
        if gram[:-1] not in before:
            prefix = " ".join(words[:-1])
            lines.fail(f"{prefix!r} is not among the {order - 1}-grams; make the file again")
        grams.append(gram)
        # Nothing follows the end, whatever weight the file gives it.
        columns.append((before[gram[:-1]], gram[-1], prob, weight if gram[-1] else 0.0))
    prefixes, labels, probs, weights = np.array(columns, np.float64).reshape(-1, 4).T
    sorted_rows = np.lexsort((labels, prefixes))
    level = ngrams.Level(
        prefixes[sorted_rows].astype(np.int64),
        labels[sorted_rows].astype(np.int64),
        probs[sorted_rows],
        weights[sorted_rows],
    )
    return level, {grams[row]: new for new, row in enumerate(sorted_rows.tolist())}

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
from collections.abc import Iterable, Iterator
from typing import NoReturn

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.decode.lm.ngrams import Gram, NGrams

_START, _END = "<s>", "</s>"
_UNKNOWN = ("<unk>", "<UNK>")
_LOG_10 = math.log(10)
_NEVER = -99.0  # log10 that toolkits write for probability 0
_LARGEST_WEIGHT = 99.0  # log10
_NAMED = 5  # glosses that a message lists


def arpa_words(vocabulary: Vocabulary) -> list[str]:
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


def write_arpa(path: pathlib.Path, ngrams: NGrams, vocabulary: Vocabulary) -> None:
    """Writes a model, for example from `ngrams.estimate_ngrams`, through a temporary name.

    Raises:
        WSignError: it is another vocabulary, or one with names that do not fit.
    """
    if len(vocabulary) != ngrams.vocab_size:
        raise WSignError(
            f"{path}: the language model has {ngrams.vocab_size} labels and the vocabulary "
            f"{len(vocabulary)}; take the label_map.json that it was made with"
        )
    words = arpa_words(vocabulary)
    sections: list[list[str]] = [[] for _ in range(ngrams.order)]
    for gram, prob in sorted(ngrams.log_probs.items()):
        names = [words[label] for label in gram]
        if len(gram) > 1 and gram[0] == 0:
            names[0] = _START
        columns = [f"{prob / _LOG_10:.7f}", " ".join(names)]
        # Nothing follows the end or the longest n-grams, so they have no weight.
        if gram[-1] and len(gram) < ngrams.order:
            columns.append(_weight(ngrams, gram))
        sections[len(gram) - 1].append("\t".join(columns))
    start = [f"{_NEVER:g}", _START, *[_weight(ngrams, (0,))][: ngrams.order - 1]]
    sections[0].insert(0, "\t".join(start))
    lines = ["\\data\\", *(f"ngram {n}={len(lines)}" for n, lines in enumerate(sections, 1))]
    for order, section in enumerate(sections, 1):
        lines += ["", f"\\{order}-grams:", *section]
    files.write(path, "\n".join([*lines, "", "\\end\\", ""]).encode())


def _weight(ngrams: NGrams, context: Gram) -> str:
    return f"{ngrams.backoffs.get(context, 0.0) / _LOG_10:.7f}"


# ------------------------------------------------------------------------------------------ reading


def read_arpa(path: pathlib.Path, vocabulary: Vocabulary) -> NGrams:
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
    ids = {word: id for id, word in enumerate(arpa_words(vocabulary))} | {_START: 0}
    log_probs: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    unknown = None
    outside: dict[str, int] = {}
    seen: set[tuple[str, ...]] = set()
    for order in range(1, len(counts) + 1):
        for words, prob, weight in _section(lines, order, counts, seen):
            if words[0] in _UNKNOWN and order == 1:
                unknown = prob
            elif words == (_START,):
                backoffs[0,] = weight
            elif words[0] not in ids and order == 1:
                outside[words[0]] = lines.number
            elif not any(word in _UNKNOWN for word in words):
                gram = tuple(ids[word] for word in words)
                log_probs[gram] = prob
                if gram[-1] != 0:  # nothing follows the end, whatever weight the file gives it
                    backoffs[gram] = weight
        if outside:
            lines.fail(
                f"{len(outside)} of {counts[0]} words are not in the vocabulary ({_some(outside)}); "
                "take the label_map.json that belongs to the language model, or make the language "
                "model from this vocabulary",
                min(outside.values()),
            )
        if (0,) not in log_probs:
            lines.fail(f"no {_END} among the 1-grams; make the file again with sentence ends")
    if lines.current != "\\end\\":
        lines.fail(
            f"{lines.current!r} where \\end\\ belongs; correct the header or remove the rest"
        )
    if lines.advance(may_end=True):
        lines.fail("there is more after \\end\\; keep one model in a file")
    _add_missing(path, log_probs, unknown, vocabulary)
    return NGrams(log_probs, backoffs)


def _add_missing(
    path: pathlib.Path,
    log_probs: dict[Gram, float],
    unknown: float | None,
    vocabulary: Vocabulary,
) -> None:
    """Gives the glosses that a file lacks a probability."""
    missing = [id for id in range(len(vocabulary)) if (id,) not in log_probs]
    if not missing:
        return
    print(
        f"warning: {path}: {len(missing)} of {len(vocabulary) - 1} glosses are not in it "
        f"({_some(vocabulary.glosses(missing))}); they get the probability of "
        + ("its least likely word" if unknown is None else "<unk>"),
        flush=True,
    )
    if unknown is None:
        unknown = min(prob for gram, prob in log_probs.items() if len(gram) == 1)
    log_probs |= {(id,): unknown for id in missing}


def _some(names: Iterable[str]) -> str:
    first = list(names)
    return ", ".join([*first[:_NAMED], *["..."][: len(first) > _NAMED]])


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
    lines: _Lines, order: int, counts: list[int], seen: set[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yields words, log probability and log weight of an order's n-grams, and adds them to `seen`."""
    if lines.current != f"\\{order}-grams:":
        lines.fail(f"{lines.current!r} where \\{order}-grams: belongs; copy or make the file again")
    weighted = order < len(counts)
    before = len(seen)
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
        if order > 1:
            _check_parts(lines, words, seen)
        seen.add(words)
        weight = columns[order + 1] if len(columns) > order + 1 else "0"
        yield words, _natural(lines, columns[0], 0.0), _natural(lines, weight, _LARGEST_WEIGHT)
    if len(seen) - before != counts[order - 1]:
        lines.fail(
            f"{len(seen) - before} {order}-grams before it, and the header says {counts[order - 1]}; "
            "copy or make the file again"
        )


def _check_parts(lines: _Lines, words: tuple[str, ...], seen: set[tuple[str, ...]]) -> None:
    """Checks that an n-gram is made of those that came before it."""
    for word in words:
        if (word,) not in seen:
            lines.fail(f"{word!r} is not among the 1-grams; make the file again")
    if _START in words[1:] or _END in words[:-1]:
        lines.fail(f"{_START} only begins, {_END} only ends an n-gram; make the file again")
    if words[:-1] not in seen:
        prefix, order = " ".join(words[:-1]), len(words) - 1
        lines.fail(f"{prefix!r} is not among the {order}-grams; make the file again")


def _natural(lines: _Lines, text: str, largest: float) -> float:
    """Converts a file's log10 to a natural logarithm."""
    try:
        value = float(text)
    except ValueError:
        lines.fail(f"{text!r} is not a number; correct it")
    if not value <= largest:
        lines.fail(f"{text!r} is not a log10 up to {largest:g}; correct it")
    return max(value, _NEVER) * _LOG_10

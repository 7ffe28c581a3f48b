"""The report's files for other programs: JSON lines, sclite's trn, PHOENIX's ctm.

    hypotheses.jsonl   one object per sentence: id, signer, seconds, reference, hypothesis (gloss names),
                       times ([start, end] in seconds of every hypothesis gloss), confidences, edits
                       ([kind, reference gloss or null, hypothesis gloss or null], kind C, S, D or I)
    ref.trn, hyp.trn   `GLOSS GLOSS (id)`, for NIST's sclite:
                       sclite -s -i spu_id -r ref.trn trn -h hyp.trn trn
    hyp.ctm            `<id> 1 <start> <duration> <gloss>` in seconds; `[EMPTY]` without glosses

trn and ctm cannot hold every name: space ends a gloss; parentheses, braces and slash are alternatives;
`@` is the empty word; `;;` is a comment; `<...>` and `[...]` are markers. In names and ids, these
characters, `%`, `*`, quotes, backslash and control characters are written as %XX, their UTF-8 bytes in
hexadecimal as in URLs. All others stay, umlauts too. An empty name is `%` alone. `read_trn` undoes it.

sclite ignores case unless it is given `-s`. It aligns with a cost of 4 for substitutions and 3 for the
rest. So it may count a few errors more than the cheapest alignment, which our WER is based on.
"""

import json
import pathlib
import re
import urllib.parse
from collections.abc import Iterable, Sequence

from wsign_jax.common import tables
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.report.sentences import Sentence

EMPTY = "[EMPTY]"
_UNSAFE = re.compile(r"""[\s\x00-\x1f\x7f-\x9f(){}<>\[\]/@;%*"'\\]""")
_LINE = re.compile(r"(?:(.*) )?\(([^ ()]+)\)")


def hypotheses_jsonl(sentences: Iterable[Sentence], vocabulary: Vocabulary) -> str:
    """Returns the content of `hypotheses.jsonl`; times and confidences have 4 decimals."""
    lines = []
    for sentence in sentences:
        row = {
            "id": sentence.id,
            "signer": sentence.signer,
            "seconds": round(float(sentence.seconds), 4),
            "reference": vocabulary.glosses(sentence.reference),
            "hypothesis": vocabulary.glosses(sentence.hypothesis),
            "times": [[round(float(at), 4) for at in span] for span in sentence.spans],
            "confidences": [round(float(share), 4) for share in sentence.confidences],
            "edits": [
                [kind, *(None if id is None else vocabulary.names[id] for id in pair)]
                for kind, *pair in sentence.aligned
            ],
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def trn_content(sequences: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Returns the content of a trn file, of an id and gloss names for every sentence."""
    return "".join(
        " ".join([*map(escape_name, glosses), f"({escape_name(id)})"]) + "\n"
        for id, glosses in sequences
    )


def read_trn(path: pathlib.Path) -> dict[str, list[str]]:
    """Reads the gloss names of every sentence, by id, in the order of the file.

    Raises:
        WSignError: it is not UTF-8, a line does not end with `(id)`, or an id is in it twice.
    """
    sentences: dict[str, list[str]] = {}
    for number, line in enumerate(tables.read_text(path).split("\n"), 1):
        words = line.rstrip("\r").strip(" ")
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise WSignError(f"{path}, line {number}: must be 'GLOSS GLOSS (id)'; add the (id)")
        id = unescape_name(match[2])
        if id in sentences:
            raise WSignError(f"{path}, line {number}: id {id!r} was there before; keep one of them")
        sentences[id] = [unescape_name(gloss) for gloss in (match[1] or "").split(" ") if gloss]
    return sentences


def ctm_content(sentences: Iterable[Sentence], vocabulary: Vocabulary) -> str:
    """Returns the content of `hyp.ctm`, with times to the millisecond."""
    lines = []
    for sentence in sentences:
        id = escape_name(sentence.id)
        glosses = vocabulary.glosses(sentence.hypothesis)
        for gloss, (start, end) in zip(glosses, sentence.spans, strict=True):
            lines.append(f"{id} 1 {start:.3f} {end - start:.3f} {escape_name(gloss)}\n")
        if not glosses:
            lines.append(f"{id} 1 0.000 0.000 {EMPTY}\n")
    return "".join(lines)


def escape_name(name: str) -> str:
    """Returns a gloss or an id in a form that trn and ctm can hold."""
    return _UNSAFE.sub(lambda match: urllib.parse.quote(match[0], safe=""), name) or "%"


def unescape_name(word: str) -> str:
    """Undoes `escape_name`."""
    return "" if word == "%" else urllib.parse.unquote(word)

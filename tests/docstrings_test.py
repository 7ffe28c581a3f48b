"""Docstrings begin with a plain sentence, and the spelling is American (DESIGN: English)."""

import ast
import re
from collections.abc import Iterator

from tests.helpers.processes import ROOT

FILES = [
    path
    for folder in ("wsign_jax", "tools", "configs", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# A stem each, so that this file does not contain the words that it looks for.
BRITISH = re.compile(
    r"(?i)(normal|recogn|optim|summar|serial|initial|material|token|visual)is(e|ed|es|er|ing|ation)"
    r"|(behavi|col|neighb|fav)our|lic" + r"ence|\bcent" + r"re\b|\bgre" + r"y\b"
)


def docstrings() -> Iterator[tuple[str, str]]:
    """The place and the text of every docstring of the package, the tools and the configs."""
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "tests":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    name = getattr(node, "name", "the module")
                    yield f"{path.relative_to(ROOT)}: {name}", text


def first_sentence_problem(text: str) -> str | None:
    """What is wrong with the beginning of a docstring; None if it is well."""
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    if first.startswith(("python ", "from configs")):  # how a tool is called
        return None
    word = first.split(" ")[0]
    if word in ("Of", "What", "Those", "From"):
        return f"begins with {word!r}"
    if not re.search(r"[.:)]$", first):
        return "does not end with a full stop"
    if len(re.findall(r"[A-Za-z]+", first)) < 2:
        return "neither says what is done nor names the thing"
    return None


def test_docstrings_begin_with_a_sentence():
    problems = {
        place: problem for place, text in docstrings() if (problem := first_sentence_problem(text))
    }
    assert not problems


def test_the_spelling_is_american():
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in FILES
        if (match := BRITISH.search(path.read_text(encoding="utf-8")))
    }
    assert not found

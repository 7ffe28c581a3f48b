import itertools
import re
from collections import Counter

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data.generated.sentences import (
    MixedSentences,
    TextSentences,
    UniformSentences,
    WrittenSentences,
)

GLOSSES = ["coffee", "fs-a", "fs-b", "large", "no", "please", "small", "tea", "#BANK", "?"]


def written(tmp_path, text: str) -> WrittenSentences:
    path = tmp_path / "g.py"
    path.write_text(text, encoding="utf-8")
    return WrittenSentences(path, GLOSSES)


def draws(sentences, count: int = 400, available=GLOSSES) -> list[list[str] | None]:
    rng = np.random.default_rng(0)
    return [sentences.draw(rng, available) for _ in range(count)]


def test_a_function_draws_what_a_signer_has_clips_of(tmp_path):
    sentences = written(
        tmp_path,
        "def sentence(rng, glosses):\n"
        "    drawn = [['no', 'tea'], [], [g for g in glosses if g.startswith('fs-')]]\n"
        "    return drawn[rng.integers(3)]\n",
    )
    drawn = draws(sentences, available=["no", "fs-b"])
    assert {tuple(glosses or ()) for glosses in drawn} == {(), ("fs-b",)}
    assert drawn == draws(sentences, available=["no", "fs-b"])


DEF = "def sentence(rng, glosses): "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence = <drink>", "SyntaxError: invalid syntax (g.py, line 1)"),
        ("def drink(): return []", "has no function sentence(rng, glosses); write one"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def sentence(): return []", "sentence: TypeError: sentence() takes 0 positional"),
        (DEF + "return 1 / 0", "sentence: ZeroDivisionError: division by zero"),
        (DEF + "return 'no tea'", "sentence returns 'no tea'; return a list of glosses"),
        (DEF + "return ['no', 3]", "sentence returns ['no', 3]; return a list of glosses"),
        (DEF + "return ['no', 'tee']", "gloss 'tee' is not in the vocabulary"),
    ],
)
def test_what_is_wrong_with_a_function_is_named(tmp_path, text, message):
    with pytest.raises(WSignError, match=re.escape(f"g.py: {message}")) as error:
        draws(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_uniform_draws_every_gloss_and_repeats_some():
    drawn = draws(UniformSentences(shortest=2, longest=4, repeat=0.5))
    assert {len(glosses) for glosses in drawn} == {2, 3, 4}
    counts = Counter(gloss for glosses in drawn for gloss in glosses)
    assert set(counts) == set(GLOSSES) and max(counts.values()) < 2 * min(counts.values())
    pairs = [pair for glosses in drawn for pair in itertools.pairwise(glosses)]
    assert 0.45 < np.mean([first == second for first, second in pairs]) < 0.65
    for bad in (
        {"shortest": 0},
        {"longest": 10**9},
        {"shortest": 5, "longest": 4},
        {"repeat": 1.5},
    ):
        with pytest.raises(WSignError, match="give "):
            UniformSentences(**bad)


def test_a_mixture_draws_the_second_kind_as_often_as_told(tmp_path):
    mixed = MixedSentences(
        written(tmp_path, DEF + "return ['no'] * 5"), UniformSentences(1, 4), 0.25
    )
    assert 0.18 < np.mean([len(glosses) < 5 for glosses in draws(mixed)]) < 0.32
    with pytest.raises(WSignError, match=r"--uniform=-0.1: give 0 to 1"):
        MixedSentences(UniformSentences(), UniformSentences(), -0.1)


def test_n_grams_draw_what_followed_in_the_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no tea please\n\nno coffee please\nsmall tea\nsmall coffee\n")
    seen = {tuple(glosses or ()) for glosses in draws(TextSentences.read(text, GLOSSES, order=2))}
    assert seen == {
        (size, drink, *end)
        for size in ("no", "small")
        for drink in ("tea", "coffee")
        for end in ((), ("please",))
    }
    seen = {tuple(glosses or ()) for glosses in draws(TextSentences.read(text, GLOSSES, order=3))}
    assert seen == {
        ("no", "tea", "please"),
        ("no", "coffee", "please"),
        ("small", "tea"),
        ("small", "coffee"),
    }
    drawn = draws(TextSentences.read(text, GLOSSES, order=1))
    assert max(len(glosses) for glosses in drawn if glosses) <= 3 and None in drawn
    assert None in draws(
        TextSentences.read(text, GLOSSES, order=2), available=["no", "tea", "please"]
    )


def test_a_text_that_cannot_be_used_is_named_with_its_line(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no tea\n\nno beer\n")
    with pytest.raises(WSignError, match=r"text\.txt:3: gloss 'beer' is not in the vocabulary"):
        TextSentences.read(text, GLOSSES, order=2)
    text.write_text("\n")
    with pytest.raises(WSignError, match=r"text\.txt: no sentences in it"):
        TextSentences.read(text, GLOSSES, order=2)
    with pytest.raises(WSignError, match=r"--order=0: give 1 or more"):
        TextSentences.read(text, GLOSSES, order=0)

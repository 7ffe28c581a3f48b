import itertools
import re
from collections import Counter

import numpy as np
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data.generated.sentences import Grammar, Mixture, NGrams, Uniform

GLOSSES = ["coffee", "fs-a", "fs-b", "large", "no", "please", "small", "tea", "#BANK", "?"]


def grammar(tmp_path, text: str) -> Grammar:
    path = tmp_path / "g.txt"
    path.write_text(text, encoding="utf-8")
    return Grammar.read(path, GLOSSES)


def draws(sentences, count: int = 400, available=GLOSSES) -> list[list[str] | None]:
    rng = np.random.default_rng(0)
    return [sentences.draw(rng, available) for _ in range(count)]


def test_rules_alternatives_repeats_weights_and_patterns(tmp_path):
    rules = grammar(
        tmp_path,
        "# orders\n\nsentence 3 = no{2} <size> <drink> please\nsentence = <letter>{1,3}\n"
        "size = small | large\ndrink = coffee\ndrink = tea | #BANK\nletter = fs-*\n",
    )
    seen = Counter(" ".join(glosses) for glosses in draws(rules))
    orders = {text: n for text, n in seen.items() if text.startswith("no no ")}
    assert len(orders) == 6 and 260 < sum(orders.values()) < 340
    assert all(re.fullmatch("no no (small|large) (coffee|tea|#BANK) please", o) for o in orders)
    words = {text for text in seen if text not in orders}
    assert all(re.fullmatch("fs-[ab]( fs-[ab]){0,2}", word) for word in words) and len(words) == 14


def test_a_sentence_with_a_gloss_that_nobody_has_is_given_up(tmp_path):
    rules = grammar(tmp_path, "sentence = no tea | <l>\nl = fs-*")
    drawn = draws(rules, available=["no", "fs-b"])
    assert {tuple(glosses or ()) for glosses in drawn} == {(), ("fs-b",)}


BROKEN = {
    "coffee tea": "1: 'coffee tea' is no rule; write NAME = GLOSS <RULE> ...",
    "drink = tea": ": no rule 'sentence = ...'; sentences begin there",
    "\nsentence = <drink>": "2: no rule 'drink'; it has sentence",
    "sentence = tea\nsentence = tee": "2: gloss 'tee' is not in the vocabulary",
    "sentence = zs-*": "1: gloss 'zs-*' is not in the vocabulary",
    "sentence = no | | tea": "1: an empty alternative of 'sentence'",
    "sentence =": "1: an empty alternative of 'sentence'",
    "sentence 0 = no": "1: weight 0 of 'sentence'; write a number over 0",
    "sentence 1.2.3 = no": "1: weight 1.2.3 of 'sentence'",
    "sentence = no{5,2}": "1: repeats in 'no{5,2}'; write 1 to 100, fewest first",
    "sentence = no{0}": "1: repeats in 'no{0}'",
    "sentence = <no": "1: '<no'; write a gloss, <RULE>, or either with {3,8} behind",
    "sentence = no <a>\na = tea <b>\nb = <a>": "3: <a> leads back to itself",
    "sentence 1" + 400 * "0" + " = no": "1: weight 1000",
    "sentence = no{" + 5000 * "9" + "}": "1: 'no{999",
    "sentence = " + " ".join(11 * ["no{100}"]): "1: 'sentence' makes up to 1100 glosses, and the m",
    "sentence = <a0>\n"
    + "".join(f"a{n} = <a{n + 1}> <a{n + 1}>\n" for n in range(32))
    + "a32 = no": "24: 'a22' makes up to 1024 glosses, and the most is 1000; repeat less",
    "sentence = <a0>\n"
    + "".join(f"a{n} = <a{n + 1}>\n" for n in range(5000))
    + "a5000 = no": "101: more than 100 rules within each other; write some of them out",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:40])
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, text):
    with pytest.raises(
        WSignError, match=re.escape("g.txt") + ":?" + re.escape(BROKEN[text])
    ) as error:
        grammar(tmp_path, text)
    assert "\n" not in str(error.value)


def test_uniform_draws_every_gloss_and_repeats_some():
    drawn = draws(Uniform(shortest=2, longest=4, repeat=0.5))
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
            Uniform(**bad)


def test_a_mixture_draws_the_second_kind_as_often_as_told(tmp_path):
    mixed = Mixture(grammar(tmp_path, "sentence = no no no no no"), Uniform(1, 4), 0.25)
    assert 0.18 < np.mean([len(glosses) < 5 for glosses in draws(mixed)]) < 0.32
    with pytest.raises(WSignError, match=r"--uniform=-0.1: give 0 to 1"):
        Mixture(Uniform(), Uniform(), -0.1)


def test_n_grams_draw_what_followed_in_the_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no tea please\n\nno coffee please\nsmall tea\nsmall coffee\n")
    seen = {tuple(glosses or ()) for glosses in draws(NGrams.read(text, GLOSSES, order=2))}
    assert seen == {
        (size, drink, *end)
        for size in ("no", "small")
        for drink in ("tea", "coffee")
        for end in ((), ("please",))
    }
    seen = {tuple(glosses or ()) for glosses in draws(NGrams.read(text, GLOSSES, order=3))}
    assert seen == {
        ("no", "tea", "please"),
        ("no", "coffee", "please"),
        ("small", "tea"),
        ("small", "coffee"),
    }
    drawn = draws(NGrams.read(text, GLOSSES, order=1))
    assert max(len(glosses) for glosses in drawn if glosses) <= 3 and None in drawn
    assert None in draws(NGrams.read(text, GLOSSES, order=2), available=["no", "tea", "please"])


def test_a_text_that_cannot_be_used_is_named_with_its_line(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("no tea\n\nno beer\n")
    with pytest.raises(WSignError, match=r"text\.txt:3: gloss 'beer' is not in the vocabulary"):
        NGrams.read(text, GLOSSES, order=2)
    text.write_text("\n")
    with pytest.raises(WSignError, match=r"text\.txt: no sentences in it"):
        NGrams.read(text, GLOSSES, order=2)
    with pytest.raises(WSignError, match=r"--order=0: give 1 or more"):
        NGrams.read(text, GLOSSES, order=0)

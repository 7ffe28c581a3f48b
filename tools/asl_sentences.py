"""The sentences of the composed ASL set: 15 word signs of a coffee shop, and 26 fingerspelled letters.

Half of them are orders, a quarter any words, a quarter any letters, as a name is spelled.

    python tools/compose_sentences.py --grammar=tools/asl_sentences.py ...
"""

from collections.abc import Sequence

import numpy as np

_WORDS = [
    *("a", "can", "coffee", "get", "hello", "i", "large", "medium", "muffin", "no", "please"),
    *("small", "tea", "thank-you", "water"),
]


def sentence(rng: np.random.Generator, glosses: Sequence[str]) -> list[str]:
    """Draws a sentence; `glosses` are those that its signer has clips of."""

    def one_of(*choices: str) -> str:
        return choices[rng.integers(len(choices))]

    kind = one_of("order", "order", "words", "letters")
    if kind != "order":
        pool = _WORDS if kind == "words" else [name for name in glosses if name.startswith("fs-")]
        return [one_of(*pool) for _ in range(rng.integers(3, 9))] if pool else []
    drink, other = (one_of("coffee", "tea", "water") for _ in range(2))
    size = one_of("small", "medium", "large")
    order = one_of(
        f"a {size} {drink}", f"{size} {drink}", f"{size} {drink} a muffin", f"a muffin a {drink}"
    )
    return one_of(
        *(f"hello {order}", f"{order} thank-you", f"i get {order}", f"can i get {order} please"),
        *(f"no {drink} please", f"no no {order}", f"hello {drink} please", f"{other} no {order}"),
    ).split()

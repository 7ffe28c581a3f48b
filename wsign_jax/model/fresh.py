"""Fresh parameters, drawn on the host: each by its seed and path alone, whatever else there is.

JAX's own initializers compile two dozen small programs first: for a base-size network they take 2 s, of
a processor that is to compile or load the training step meanwhile, and NumPy takes 0.3 s.
"""

import re
from collections.abc import Callable

import numpy as np


def draw(path: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A float32 parameter.

    Args:
        path: such as 'encoder/blocks/0/mlp/up/kernel'.
        shape: of it.
        seed: of all.

    Raises:
        ValueError: no rule says how.
    """
    rng = np.random.default_rng([seed, *path.encode()])
    for pattern, drawn in _RULES:
        if re.fullmatch(pattern, path):
            return drawn(rng, shape)
    raise ValueError(f"{path}: no rule says how to draw it; add one to {__name__}._RULES")


def _zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    del rng
    return np.zeros(shape, np.float32)


def _ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    del rng
    return np.ones(shape, np.float32)


def _embedding(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(V, D), rows of length 1 on average: their products with a normed (D,) are logits."""
    return rng.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)


def _depthwise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(taps, D): keeps the variance of independent patches."""
    return rng.standard_normal(shape, np.float32) * np.float32(shape[0] ** -0.5)


def _lecun(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(in, out): keeps the variance of independent inputs (LeCun et al. 1998, "Efficient BackProp");
    uniform, as Flax's `lecun_uniform`, which NumPy draws four times as fast as normal numbers."""
    values = rng.random(shape, np.float32)
    values -= np.float32(0.5)
    values *= np.float32(2.0 * (3.0 / shape[0]) ** 0.5)
    return values


# The first that matches counts.
_RULES: tuple[tuple[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]], ...] = (
    ("frontend/conv/kernel", _depthwise),
    (".*/kernel", _lecun),
    ("decoder/embed/embedding", _embedding),
    (".*/scale", _ones),
    (".*/bias", _zeros),
)

"""Draws fresh parameters on the host, each from the seed and its path alone.

JAX's own initializers first compile two dozen small programs. For a base-size network they take 2 s of
a processor that must compile or load the training step at the same time; NumPy takes 0.3 s.
"""

import re
from collections.abc import Callable

import numpy as np


def draw(path: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draws a float32 parameter.

    Args:
        path: of the parameter, for example 'encoder/blocks/0/mlp/up/kernel'.
        shape: of the parameter.
        seed: the same for all parameters.

    Raises:
        ValueError: no rule matches the path.
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
    """Draws (V, D) with rows of length 1 on average: their products with a normed (D,) are logits."""
    return rng.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)


def _depthwise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws (taps, D) so that the variance of independent patches is kept."""
    return rng.standard_normal(shape, np.float32) * np.float32(shape[0] ** -0.5)


def _lecun(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws (in, out) so that the variance of independent inputs is kept.

    LeCun et al. 1998, "Efficient BackProp". Uniform, like Flax's `lecun_uniform`: NumPy draws uniform
    numbers four times as fast as normal ones.
    """
    values = rng.random(shape, np.float32)
    values -= np.float32(0.5)
    values *= np.float32(2.0 * (3.0 / shape[0]) ** 0.5)
    return values


# The first match counts.
_RULES: tuple[tuple[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]], ...] = (
    ("frontend/conv/kernel", _depthwise),
    (".*/kernel", _lecun),
    ("decoder/embed/embedding", _embedding),
    (".*/scale", _ones),
    (".*/bias", _zeros),
)

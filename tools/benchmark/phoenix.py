"""Made-up signing in sentences as long as PHOENIX-2014's: speed depends on the lengths alone."""

import pathlib

import numpy as np

from wsign_jax.data import layout
from wsign_jax.keypoints import joints

GLOSSES = 1295  # of the corpus
SENTENCES = 5672  # of its training split

# Percentiles of the training split's lengths, in pictures at 25 per second.
_QUANTILES = (
    16, 47, 57, 65, 70, 75, 79, 81, 84, 87, 89, 91, 93, 95, 96, 97, 99, 101, 102, 103, 104, 105, 106,
    107, 108, 110, 111, 112, 113, 114, 116, 117, 118, 119, 120, 121, 122, 124, 125, 126, 127, 128, 129,
    130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 142, 143, 144, 145, 146, 148, 149, 150, 151, 153,
    154, 155, 157, 158, 159, 160, 162, 163, 164, 166, 168, 169, 171, 172, 173, 175, 177, 178, 181, 182,
    184, 185, 187, 189, 191, 194, 196, 199, 202, 205, 208, 211, 214, 218, 222, 229, 240, 299,
)  # fmt: skip
_PICTURES = 25  # a second
_PICTURES_A_GLOSS = 12.2


def lengths(sentences: int = SENTENCES, seed: int = 0) -> np.ndarray:
    """Draws (n,) int64 frames at 60 Hz, distributed like PHOENIX-2014's training sentences."""
    shares = np.random.default_rng(seed).uniform(0, 100, sentences)
    pictures = np.interp(shares, np.arange(101), _QUANTILES)
    return np.round(pictures * joints.FPS / _PICTURES).astype(np.int64)


def glosses_in(frames: int) -> int:
    """How many glosses a sentence of so many frames has there, on average."""
    return max(1, round(frames * _PICTURES / joints.FPS / _PICTURES_A_GLOSS))


def signing(frames: int, seed: int = 0) -> np.ndarray:
    """Makes (T, 42, 7) features of two hands that wander about."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(0, 0.05, size=(joints.NUM_JOINTS, 3))
    path = np.cumsum(rng.normal(0, 0.01, size=(frames, 1, 3)), axis=0)
    seen = np.full((frames, len(joints.HANDS)), 0.9)
    return joints.features_from_positions(0.5 + shape + path, seen)


def write_dataset(root: pathlib.Path, train: int | np.ndarray, others: int = 8) -> None:
    """Writes a data set.

    Args:
        root: a new folder.
        train: how many training sentences, or the numbers of those to write, each once.
        others: how many sentences each for val and test.
    """
    numbers = np.arange(train) if isinstance(train, int) else train
    glosses = {"<blank>": 0} | {f"GLOSS{id}": id for id in range(1, GLOSSES + 1)}
    splits = (("train", numbers), ("val", np.arange(others)), ("test", np.arange(others)))
    with layout.new_dataset(root, "benchmark") as partial:
        layout.write_label_map(partial, glosses)
        for seed, (split, chosen) in enumerate(splits):
            frames = lengths(int(chosen.max()) + 1, seed)
            for number in chosen.tolist():
                rng = np.random.default_rng([seed, number])
                labels = rng.integers(1, GLOSSES + 1, glosses_in(int(frames[number])))
                features = signing(int(frames[number]), number)
                layout.write_example(partial, split, f"{number:05}", features, labels)

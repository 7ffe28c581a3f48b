"""Makes a data set of procedural signing, for users without recordings; see signing.py."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import numpy as np

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.data.generated import signing
from wsign_jax.keypoints import joints

MAX_GLOSSES = 1295  # as many as PHOENIX-2014 has

# The purpose of a stream of random numbers, so that no two are the same; signing.py has 0 to 2.
_SENTENCE, _NOISE = 3, 4


@dataclasses.dataclass(frozen=True)
class SigningSettings:
    """The settings of a synthetic data set; the same settings always make the same files."""

    glosses: int = 24  # vocabulary without the blank, 1..1295
    train: int = 800  # sentences per split
    val: int = 80
    test: int = 100
    signers: int = 12  # of the training split; others sign the other two
    seed: int = 0
    noise: float = 1.0  # scales tracker noise, dropped hands and tremor; 0 is a perfect tracker

    def __post_init__(self) -> None:
        if not isinstance(self.glosses, int) or not 1 <= self.glosses <= MAX_GLOSSES:
            raise WSignError(f"synthetic glosses={self.glosses!r}: give 1 to {MAX_GLOSSES}")
        for name, least in (("train", 1), ("val", 1), ("test", 1), ("signers", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise WSignError(f"synthetic {name}={value!r}: give a whole number from {least} up")
        if not 0 <= self.noise < math.inf:
            raise WSignError(f"synthetic noise={self.noise!r}: give 0 or more; 1 is usual")


@dataclasses.dataclass(frozen=True)
class SyntheticSentence:
    """One example."""

    id: str  # for example "test_00012_te03": split, index, signer
    features: np.ndarray  # (T, 42, 7) float32
    labels: np.ndarray  # (U,) int32, 1..glosses
    segments: np.ndarray  # (U, 2) float64 start and end in seconds


def label_map(settings: SigningSettings) -> dict[str, int]:
    """Returns the id of each gloss, and of the blank."""
    return {"<blank>": 0} | {f"SIGN-{gloss:04d}": gloss for gloss in range(1, settings.glosses + 1)}


def make_sentence(settings: SigningSettings, split: str, index: int) -> SyntheticSentence:
    """Makes sentence `index` of a split; it does not depend on the sentences made before."""
    rng = np.random.default_rng([_SENTENCE, settings.seed, layout.SPLITS.index(split), index])
    signers = settings.signers if split == "train" else signing.UNSEEN_SIGNERS[split]
    number = int(rng.integers(signers))
    who = signing.draw_signer(settings.seed, split, number)
    labels = _draw_labels(rng, settings.glosses)
    signs = signing.draw_lexicon(settings.seed, settings.glosses)
    poses, spans = signing.perform_signs(rng, who, signs, labels)
    positions, confidence = signing.film_poses(rng, poses, who, settings.noise)
    return SyntheticSentence(
        id=f"{split}_{index:05d}_{split[:2]}{number:02d}",
        features=joints.features_from_positions(positions, confidence),
        labels=labels,
        segments=spans / joints.FPS,
    )


def make_noise(settings: SigningSettings, split: str, index: int) -> SyntheticSentence:
    """Makes random numbers in the form of a sentence: they test the code, but teach nothing."""
    rng = np.random.default_rng([_NOISE, settings.seed, layout.SPLITS.index(split), index])
    labels = _draw_labels(rng, settings.glosses)
    frames = int(rng.integers(60, 301))  # 60 are 15 patches: enough for CTC to emit 8 equal labels
    features = rng.standard_normal((frames, joints.NUM_JOINTS, joints.NUM_FEATURES), np.float32)
    features[..., joints.CONFIDENCE] = rng.random(features.shape[:2], np.float32)
    bounds = np.linspace(0, frames / joints.FPS, len(labels) + 1)
    segments = np.stack([bounds[:-1], bounds[1:]], 1)
    return SyntheticSentence(f"{split}_{index:05d}_noise", features, labels, segments)


def _draw_labels(rng: np.random.Generator, glosses: int) -> np.ndarray:
    """Draws (U,) int32 ids of 3 to 8 glosses, sometimes the same one twice in a row."""
    labels = rng.integers(1, glosses + 1, rng.integers(3, 9), np.int32)
    for place in np.flatnonzero(rng.random(len(labels) - 1) < 0.1):
        labels[place + 1] = labels[place]
    return labels


def write_dataset(
    root: pathlib.Path,
    settings: SigningSettings,
    random: bool = False,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes a whole data set; a killed run leaves a hidden folder beside `root`, never half of it.

    `root` is a new or an empty folder. `random` uses `make_noise` instead of `make_sentence`. `progress`
    is called with a line for every split that is done.

    Raises:
        WSignError: `root` already holds something.
    """
    make = make_noise if random else make_sentence
    with layout.new_dataset(root, "synthetic") as folder:
        for split in layout.SPLITS:
            count = getattr(settings, split)
            signers = {}
            for index in range(count):
                made = make(settings, split, index)
                segments = None if random else made.segments
                layout.write_example(folder, split, made.id, made.features, made.labels, segments)
                signers[made.id] = made.id.rsplit("_", 1)[1]
            if not random:  # nobody signs noise
                layout.write_groups(folder, split, "signer", signers)
            if progress:
                progress(f"{split}: {count} written")
        layout.write_label_map(folder, label_map(settings))
        about = {
            "generator": __name__,
            "settings": dataclasses.asdict(settings),
            "random": random,
            "fps": joints.FPS,
        }
        files.write_json(folder / "dataset.json", about)

"""The process in which PyTorch trains; tools/benchmark/peer.py starts it and says what to do.

Each line of its input is a JSON object, with the name of one of `Worker`'s methods in `do` and the
arguments beside it. The result of the method is a line of its output.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from tools.benchmark import batches, peer_keypoints, torch_peer
from wsign_jax.data import layout, validate


class Sentences(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The training split of a data set: (T, 42, 7) features, augmented and normalized, (U,) labels."""

    def __init__(self, root: pathlib.Path, spec: torch_peer.Spec, augmentation: ConfigDict):
        rules = validate.Rules(spec.vocab_size, spec.patch_size, spec.max_frames)
        self.split = layout.read_split(root, "train", rules)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, example: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames = int(self.split.frames[example])
        features, rng = self.split.features(example), np.random.default_rng(example)
        augmented, hidden = peer_keypoints.augment(features, frames, self.augmentation, rng)
        normalized = peer_keypoints.normalize(augmented)
        normalized[:, hidden] = 0.0
        return torch.from_numpy(normalized), torch.from_numpy(
            self.split.labels[example].astype(int)
        )


def collate(examples: list[tuple[torch.Tensor, torch.Tensor]]) -> torch_peer.Batch:
    """Makes a batch, padded to its longest."""
    features, labels = zip(*examples, strict=True)
    return torch_peer.Batch(
        features=pad_sequence(features, batch_first=True),
        frames=torch.tensor([len(x) for x in features]),
        labels=pad_sequence(labels, batch_first=True),
        label_lengths=torch.tensor([len(x) for x in labels]),
    )


class Worker:
    """The network in training."""

    def __init__(self, spec: torch_peer.Spec, weights: pathlib.Path, compiled: bool):
        self.model = torch_peer.WhisperSign(spec)
        with np.load(weights) as params:
            torch_peer.load(self.model, params)
        self.optimizer = torch_peer.make_optimizer(self.model)
        self.forward = torch.compile(self.model) if compiled else self.model

    def about(self) -> str:
        """Describes what computes: PyTorch's version, the processor's capability and the threads."""
        capability = torch.backends.cpu.get_cpu_capability()
        return f"torch {torch.__version__} ({capability}, {torch.get_num_threads()} threads)"

    def losses(self, batch: str) -> list[float]:
        """The losses of the batch in a file, without dropout: the total, CTC and attention."""
        self.model.eval()
        with torch.no_grad():
            losses = self.model(_read(batch))
        self.model.train()
        return [float(loss) for loss in losses]

    def product_speed(self, size: int, repeats: int = 3) -> float:
        """Floating-point operations per second in a product of two square matrices, a median."""
        left, right = torch.randn(2, size, size)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            torch.mm(left, right)
            seconds.append(time.perf_counter() - began)
        return 2 * size**3 / statistics.median(seconds)

    def steps(self, batch: str, count: int) -> float:
        """Mean seconds of `count` steps on the batch in a file."""
        loaded = _read(batch)
        began = time.perf_counter()
        for _ in range(count):
            torch_peer.train_step(self.forward, self.optimizer, loaded)
        return (time.perf_counter() - began) / count

    def end_to_end(
        self, root: str, augmentation: dict[str, Any], rows: list[list[int]], workers: int
    ) -> float:
        """Seconds per batch: read, augmented, normalized, padded and trained on.

        Args:
            root: of the data set.
            augmentation: `config.data.augment`.
            rows: the examples of each batch; those after the first batch, up to the middle, are clocked.
            workers: how many read ahead.
        """
        sentences = Sentences(pathlib.Path(root), self.model.spec, ConfigDict(augmentation))
        loader = DataLoader(sentences, batch_sampler=rows, num_workers=workers, collate_fn=collate)

        def step(batch: torch_peer.Batch) -> None:
            torch_peer.train_step(self.model, self.optimizer, batch)

        return batches.clocked(loader, step, len(rows) // 2)


def _read(path: str) -> torch_peer.Batch:
    with np.load(path) as arrays:
        return torch_peer.to_tensors(*(arrays[field] for field in torch_peer.Batch._fields))


def main() -> None:
    """Answers until its input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True)
    parser.add_argument("--weights", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compile", action="store_true")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    worker = Worker(torch_peer.Spec(**flags.spec), flags.weights, flags.compile)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(worker, request.pop("do"))(**request)), flush=True)


if __name__ == "__main__":
    main()

"""The same network, loss and optimizer in PyTorch, to compare the speed of training with.

    pip install torch --index-url https://download.pytorch.org/whl/cpu

Modules and parameters have the names of `wsign_jax.model`, so that `load` can copy weights over; with
those and no dropout, losses and gradients are the same (tests/tools/benchmark_peer_test.py). Every
operation is PyTorch's own fused one if it has one. This file does not import jax: the two run in
processes of their own, since each keeps threads for itself.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsign_jax.keypoints import joints
from wsign_jax.model import positions

_VELOCITY_SCALE = 0.1  # as in wsign_jax/model/frontend.py


@dataclasses.dataclass(frozen=True)
class Spec:
    """The fields of a config that define the network and how it is trained."""

    width: int  # D
    heads: int  # H
    hidden: int  # M
    encoder_layers: int
    decoder_layers: int
    vocab_size: int  # V
    patch_size: int
    conv_kernel: int  # patches
    look_ahead: int
    spatial_dropout: float
    frontend_dropout: float
    encoder_dropout: float
    decoder_dropout: float
    ctc_dropout: float
    alpha: float  # share of CTC in the loss
    label_smoothing: float
    learning_rate: float
    weight_decay: float
    grad_clip: float
    max_frames: int


class Batch(NamedTuple):
    """A batch of features, without masked rows."""

    features: Tensor  # (B, T, 42, 7) float32, normalized, zeros beyond `frames`
    frames: Tensor  # (B,) int64
    labels: Tensor  # (B, U) int64, zeros beyond `label_lengths`
    label_lengths: Tensor  # (B,) int64


class Losses(NamedTuple):
    """The losses of a batch: the total, which is differentiated, and its parts."""

    total: Tensor
    ctc: Tensor
    attention: Tensor


class MultiHeadAttention(nn.Module):
    """Multi-head attention: query, value and output have a bias, key has none."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        angles: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """(B, Q, D) attends to (B, N, D) -> (B, Q, D); causally without a mask."""
        query, key, value = (
            project(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, source in ((self.query, x), (self.key, context), (self.value, context))
        )
        if angles is not None:
            query, key = _rotate(query, *angles), _rotate(key, *angles)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates (B, H, N, K) by cosines and sines, (N, K / 2) each."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.down(F.gelu(self.up(x)))


class Frontend(nn.Module):
    """Patches -> Linear, GELU, Linear -> depthwise convolution (residual) -> LayerNorm -> dropouts."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.patch_size = spec.patch_size
        self.padding = (spec.conv_kernel - 1 - spec.look_ahead, spec.look_ahead)
        patch_width = spec.patch_size * joints.NUM_JOINTS * joints.NUM_FEATURES
        self.embed = nn.Linear(patch_width, spec.width)
        self.project = nn.Linear(spec.width, spec.width)
        self.conv = nn.Conv1d(spec.width, spec.width, spec.conv_kernel, groups=spec.width)
        self.norm = nn.LayerNorm(spec.width)
        self.spatial_dropout = nn.Dropout1d(spec.spatial_dropout)
        self.dropout = nn.Dropout(spec.frontend_dropout)
        scale = torch.ones(joints.NUM_FEATURES)
        scale[joints.VELOCITY] = _VELOCITY_SCALE
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """(B, T, 42, 7) and (B, N) valid patches -> (B, N, D)."""
        x = (features * self.scale).flatten(2)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.patch_size))
        x = x.unflatten(1, (-1, self.patch_size)).flatten(2)
        x = self.project(F.gelu(self.embed(x)))
        x = x.masked_fill(~valid[..., None], 0.0)
        channels = F.pad(x.transpose(1, 2), self.padding)
        x = self.norm(x + self.conv(channels).transpose(1, 2))
        x = self.spatial_dropout(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(x)


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = MultiHeadAttention(spec.width, spec.heads)
        self.mlp_norm = nn.LayerNorm(spec.width)
        self.mlp = Mlp(spec.width, spec.hidden)
        self.dropout = nn.Dropout(spec.encoder_dropout)

    def forward(self, x: Tensor, mask: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask, angles))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Encoder(nn.Module):
    """Blocks with rotary positions and a final LayerNorm."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.blocks = nn.ModuleList(EncoderBlock(spec) for _ in range(spec.encoder_layers))
        self.norm = nn.LayerNorm(spec.width)
        longest = -(-spec.max_frames // spec.patch_size)
        cos, sin = positions.rotary_angles(0, longest, spec.width // spec.heads)
        self.register_buffer("cos", torch.from_numpy(cos), persistent=False)
        self.register_buffer("sin", torch.from_numpy(sin), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D) under a (B, 1, 1, N) mask."""
        angles = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for block in self.blocks:
            x = block(x, mask, angles)
        return self.norm(x)


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention, MLP, each added to what came in."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = MultiHeadAttention(spec.width, spec.heads)
        self.cross_norm = nn.LayerNorm(spec.width)
        self.cross_attention = MultiHeadAttention(spec.width, spec.heads)
        self.mlp_norm = nn.LayerNorm(spec.width)
        self.mlp = Mlp(spec.width, spec.hidden)
        self.dropout = nn.Dropout(spec.decoder_dropout)

    def forward(self, x: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, U, D) -> (B, U, D), looking at (B, N, D)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed))
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), encoded, mask))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Decoder(nn.Module):
    """Gloss embeddings with fixed positions, blocks, a final LayerNorm, logits by the embeddings."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.width = spec.width
        self.embed = nn.Embedding(spec.vocab_size, spec.width)
        self.blocks = nn.ModuleList(DecoderBlock(spec) for _ in range(spec.decoder_layers))
        self.norm = nn.LayerNorm(spec.width)
        self.dropout = nn.Dropout(spec.decoder_dropout)
        longest = -(-spec.max_frames // spec.patch_size)  # CTC could not emit more glosses
        table = torch.from_numpy(positions.sinusoids(longest + 1, spec.width))
        self.register_buffer("positions", table, persistent=False)

    def forward(self, tokens: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
        """(B, U) tokens, 0 first -> (B, U, V) logits of what follows each."""
        x = self.embed(tokens) * self.width**0.5 + self.positions[: tokens.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, encoded, mask)
        return F.linear(self.norm(x), self.embed.weight)


class WhisperSign(nn.Module):
    """Hand keypoints in, CTC and attention-decoder losses out."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        self.frontend = Frontend(spec)
        self.encoder = Encoder(spec)
        self.ctc_dropout = nn.Dropout(spec.ctc_dropout)
        self.ctc_head = nn.Linear(spec.width, spec.vocab_size)
        self.decoder = Decoder(spec)

    def forward(self, batch: Batch) -> Losses:
        """alpha * CTC + (1 - alpha) * cross-entropy, each the mean over the rows."""
        features, frames, labels, label_lengths = batch
        patches = -(-frames // self.spec.patch_size)
        length = -(-features.shape[1] // self.spec.patch_size)
        valid = torch.arange(length) < patches[:, None]
        mask = valid[:, None, None]
        encoded = self.encoder(self.frontend(features, valid), mask)
        log_probs = F.log_softmax(self.ctc_head(self.ctc_dropout(encoded)), dim=-1)
        # 'mean' divides each row by its number of labels first.
        ctc = F.ctc_loss(log_probs.transpose(0, 1), labels, patches, label_lengths)
        logits = self.decoder(F.pad(labels, (1, 0)), encoded, mask)
        beyond = torch.arange(logits.shape[1]) > label_lengths[:, None]
        targets = F.pad(labels, (0, 1)).masked_fill(beyond, -100)
        of_tokens = F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            reduction="none",
            label_smoothing=self.spec.label_smoothing,
        )
        attention = (of_tokens.view_as(targets).sum(1) / (label_lengths + 1)).mean()
        alpha = self.spec.alpha
        return Losses(alpha * ctc + (1 - alpha) * attention, ctc, attention)


def make_optimizer(model: WhisperSign) -> torch.optim.AdamW:
    """Makes a fused AdamW; weight decay is for matrices only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": model.spec.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=model.spec.learning_rate, betas=(0.9, 0.98), fused=True)


def train_step(model: WhisperSign, optimizer: torch.optim.Optimizer, batch: Batch) -> Losses:
    """Runs one step of training; returns the losses that it lowers, without their gradients."""
    optimizer.zero_grad(set_to_none=True)
    losses = model(batch)
    losses.total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), model.spec.grad_clip)
    optimizer.step()
    return Losses(*(loss.detach() for loss in losses))


def load(model: WhisperSign, params: Mapping[str, np.ndarray]) -> None:
    """Copies our weights into a network.

    Args:
        model: of the same size.
        params: by path, for example 'encoder/blocks/0/mlp/up/kernel'.

    Raises:
        RuntimeError: a parameter is missing, left over, or of another shape.
    """
    model.load_state_dict({name(path): torch.tensor(layout(path, x)) for path, x in params.items()})


def name(path: str) -> str:
    """The name that the parameter with our path has here."""
    *modules, leaf = path.split("/")
    return ".".join([*modules, "bias" if leaf == "bias" else "weight"])


def layout(path: str, value: np.ndarray) -> np.ndarray:
    """Returns our parameter, or its gradient, with its axes as PyTorch has them."""
    if path == "frontend/conv/kernel":
        return value.T[:, None]  # (taps, D) -> (D, 1, taps)
    return value.T if path.endswith("/kernel") else value


def to_tensors(features: np.ndarray, frames: np.ndarray, *labels: np.ndarray) -> Batch:
    """Makes a batch of numpy arrays; the features share their memory."""
    lengths = (torch.from_numpy(array.astype(np.int64)) for array in (frames, *labels))
    return Batch(torch.from_numpy(features), *lengths)

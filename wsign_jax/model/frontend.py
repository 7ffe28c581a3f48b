"""The frontend: from normalized keypoints to patch embeddings, in place of Whisper's audio stem."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.keypoints import joints
from wsign_jax.model.layers import Dropout, DropoutKeys, Linear, gelu, layer_norm

# On real signing, velocities in hand sizes per second vary about ten times as widely as positions in
# hand sizes. Without this scale they would drown the positions.
_VELOCITY_SCALE = 0.1
_FEATURE_SCALE = np.ones(joints.NUM_FEATURES, np.float32)
_FEATURE_SCALE[joints.VELOCITY] = _VELOCITY_SCALE


class DepthwiseConv(nnx.Module):
    """Convolution over patches, each channel by itself, that sees `look_ahead` patches ahead.

    It is a sum of shifted products, which XLA fuses on every backend. A grouped convolution is slow on
    a CPU, its gradient most of all.
    """

    def __init__(
        self, width: int, kernel: int, look_ahead: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        self.look_ahead = look_ahead
        self.dtype = dtype
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (kernel, width)) * kernel**-0.5)
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, D) to (B, N, D), with zeros beyond both ends."""
        return self.inside(jnp.pad(x, ((0, 0), (self.behind, self.look_ahead), (0, 0))))

    @property
    def behind(self) -> int:
        """How many patches before the current one the kernel covers."""
        return self.kernel.shape[0] - 1 - self.look_ahead

    def inside(self, x: jax.Array) -> jax.Array:
        """Maps (B, `behind` + N + `look_ahead`, D) to (B, N, D): only where the kernel fits into x."""
        kernel = self.kernel[...].astype(self.dtype)
        taps, length = len(kernel), x.shape[1] - len(kernel) + 1
        bias = self.bias[...].astype(self.dtype)
        return sum(
            (x[:, tap : tap + length] * kernel[tap][None, None] for tap in range(taps)),
            start=jnp.broadcast_to(bias[None, None], (x.shape[0], length, x.shape[2])),
        )


class Frontend(nnx.Module):
    """Patches of P frames -> Linear, GELU, Linear -> depthwise convolution (residual) -> LayerNorm.

    Dropout follows: whole channels first (`spatial_dropout`), then single values.
    """

    def __init__(self, config: ConfigDict, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.patch_size = config.patch_size
        self.dtype = dtype
        patch_width = config.patch_size * joints.NUM_JOINTS * joints.NUM_FEATURES
        self.embed = Linear(patch_width, width, dtype=dtype, rngs=rngs)
        self.project = Linear(width, width, dtype=dtype, rngs=rngs)
        self.conv = DepthwiseConv(
            width, config.conv_kernel, config.look_ahead, dtype=dtype, rngs=rngs
        )
        self.norm = layer_norm(width, dtype=dtype, rngs=rngs)
        self.spatial_dropout = Dropout(config.spatial_dropout, shared_axes=(1,))
        self.dropout = Dropout(config.dropout)

    def __call__(
        self,
        features: jax.Array,
        frames: jax.Array,
        *,
        dropout_keys: DropoutKeys | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds patches.

        Args:
            features: (B, T, J, F) normalized; frames beyond `frames` are ignored.
            frames: (B,) valid frames.
            dropout_keys: None for evaluation, without dropout.

        Returns:
            (B, N, D), meaningless beyond the valid patches, and (B,) numbers of valid patches.
            N is T / P rounded up: the last patch may be partly empty.
        """
        x, patches = self._embed(features, jnp.zeros_like(frames), frames)
        x = self.norm(x + self.conv(x))
        x = self.spatial_dropout(x, dropout_keys)
        return self.dropout(x, dropout_keys), patches

    def start(self, rows: int) -> jax.Array:
        """Returns the tail of a stream before its first patch: (B, taps - 1, D) zeros."""
        taps, width = self.conv.kernel.shape
        return jnp.zeros((rows, taps - 1, width), self.dtype)

    def step(
        self, features: jax.Array, begin: jax.Array, end: jax.Array, tail: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds patches of a stream, as a call with the whole stream does.

        Args:
            features: (B, C * P, J, F) the next frames.
            begin: (B,) the first frame that belongs to the stream, a multiple of P.
            end: (B,) the frame after the last that belongs to the stream.
            tail: from `start` or the previous step.

        Returns:
            (B, C, D), the patches that lie `look_ahead` before those that came in; and the next tail.
        """
        x, _ = self._embed(features, begin, end)
        x = jnp.concatenate([tail, x], axis=1)
        first, chunk = self.conv.behind, x.shape[1] - tail.shape[1]
        return self.norm(x[:, first : first + chunk] + self.conv.inside(x)), x[:, chunk:]

    def _embed(
        self, features: jax.Array, begin: jax.Array, end: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds the frames from `begin` to `end` of each row, without the convolution.

        Returns:
            (B, N, D), zeros elsewhere; and (B,) the patch after the last.
        """
        b, t = features.shape[:2]
        n = -(-t // self.patch_size)
        valid_frames = _within(t, begin, end)
        x = jnp.where(valid_frames[:, :, None, None], features, jnp.zeros((), features.dtype))
        x = x * jnp.asarray(_FEATURE_SCALE, x.dtype)[None, None, None]
        x = jnp.pad(x, ((0, 0), (0, n * self.patch_size - t), (0, 0), (0, 0)))
        x = x.reshape(b, n, -1).astype(self.dtype)
        x = self.project(gelu(self.embed(x)))
        patches = -(-end // self.patch_size)
        valid = _within(n, begin // self.patch_size, patches)
        return jnp.where(valid[..., None], x, jnp.zeros((), x.dtype)), patches


def _within(length: int, begin: jax.Array, end: jax.Array) -> jax.Array:
    """Returns (B, length) bool, true from (B,) begin to (B,) end."""
    position = jnp.arange(length, dtype=jnp.int32)[None]
    return (position >= begin[:, None]) & (position < end[:, None])

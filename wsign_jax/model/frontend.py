"""The frontend: from normalised keypoints to patch embeddings, in place of Whisper's audio stem."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from wsign_jax.keypoints import joints
from wsign_jax.model import attention

# Velocities in hand sizes per second spread about ten times as widely as positions in hand sizes do,
# on real signing; unscaled they drown them.
_VELOCITY_SCALE = 0.1
_FEATURE_SCALE = np.ones(joints.NUM_FEATURES, np.float32)
_FEATURE_SCALE[joints.VELOCITY] = _VELOCITY_SCALE


class DepthwiseConv(nnx.Module):
    """Convolution over patches, each channel for itself, seeing `look_ahead` patches ahead.

    A sum of shifted products: XLA fuses it on every backend, while grouped convolution is slow on CPU,
    its gradient most of all.
    """

    def __init__(
        self, width: int, kernel: int, look_ahead: int, *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        self.look_ahead = look_ahead
        self.dtype = dtype
        init = nnx.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=1)
        self.kernel = nnx.Param(init(rngs.params(), (kernel, width), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, N, D) -> (B, N, D), zeros beyond both ends."""
        kernel = self.kernel[...].astype(self.dtype)
        taps, length = len(kernel), x.shape[1]
        behind = taps - 1 - self.look_ahead
        padded = jnp.pad(x, ((0, 0), (behind, self.look_ahead), (0, 0)))
        bias = self.bias[...].astype(self.dtype)
        return sum(
            (padded[:, tap : tap + length] * kernel[tap][None, None] for tap in range(taps)),
            start=jnp.broadcast_to(bias[None, None], x.shape),
        )


class Frontend(nnx.Module):
    """Patches of P frames -> Linear, GELU, Linear -> depthwise convolution (residual) -> LayerNorm.

    Dropout follows: whole channels first (`spatial_dropout`), then single values.
    """

    def __init__(self, config: ConfigDict, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.patch_size = config.patch_size
        self.dtype = dtype
        patch_width = config.patch_size * joints.NUM_JOINTS * joints.NUM_FEATURES
        self.embed = nnx.Linear(patch_width, width, dtype=dtype, rngs=rngs)
        self.project = nnx.Linear(width, width, dtype=dtype, rngs=rngs)
        self.conv = DepthwiseConv(
            width, config.conv_kernel, config.look_ahead, dtype=dtype, rngs=rngs
        )
        self.norm = attention.layer_norm(width, dtype=dtype, rngs=rngs)
        self.spatial_dropout = nnx.Dropout(config.spatial_dropout, broadcast_dims=(1,))
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(
        self,
        features: jax.Array,
        frames: jax.Array,
        *,
        deterministic: bool,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds patches.

        Args:
            features: (B, T, J, F) normalised; what lies beyond `frames` is ignored.
            frames: (B,) valid frames.
            deterministic: no dropout.
            rngs: with a `dropout` stream where `deterministic` is false.

        Returns:
            (B, N, D), meaningless beyond the valid patches, and (B,) how many are valid.
            N is T / P rounded up: the last patch may be partly empty.
        """
        b, t = features.shape[:2]
        n = -(-t // self.patch_size)
        valid_frames = jnp.arange(t, dtype=jnp.int32)[None] < frames[:, None]
        x = jnp.where(valid_frames[:, :, None, None], features, jnp.zeros((), features.dtype))
        x = x * jnp.asarray(_FEATURE_SCALE, x.dtype)[None, None, None]
        x = jnp.pad(x, ((0, 0), (0, n * self.patch_size - t), (0, 0), (0, 0)))
        x = x.reshape(b, n, -1).astype(self.dtype)
        x = self.project(jax.nn.gelu(self.embed(x), approximate=False))
        patches = -(-frames // self.patch_size)
        valid = jnp.arange(n, dtype=jnp.int32)[None] < patches[:, None]
        x = jnp.where(valid[..., None], x, jnp.zeros((), x.dtype))
        x = self.norm(x + self.conv(x))
        x = self.spatial_dropout(x, deterministic=deterministic, rngs=rngs)
        return self.dropout(x, deterministic=deterministic, rngs=rngs), patches

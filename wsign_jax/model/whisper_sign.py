"""WhisperSign: frontend, encoder, CTC head and attention decoder; its parameters as a plain dict."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict, FrozenConfigDict

from wsign_jax.common.errors import WSignError
from wsign_jax.model import attention, decoder, encoder, frontend
from wsign_jax.model.attention import KeysValues
from wsign_jax.model.chunk import Chunk
from wsign_jax.model.features import (
    FeatureState,
    features_of_chunk,
    features_of_sequences,
    initial_state,
)
from wsign_jax.model.layers import HASHED, Dropout, DropoutKeys, Linear, logits
from wsign_jax.model.positions import MAX_SINUSOIDAL_PATCHES, SINUSOIDAL

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Size:
    """A named shape of the network."""

    width: int  # D
    heads: int  # H
    hidden: int  # M
    encoder_layers: int
    decoder_layers: int


SIZES = {
    "tiny": Size(128, 4, 512, 2, 1),
    "small": Size(256, 4, 1024, 4, 2),
    "base": Size(512, 8, 2048, 6, 6),
    "large": Size(768, 12, 3072, 12, 12),
    # Whisper's other sizes: its base and small are the two above.
    "whisper_tiny": Size(384, 6, 1536, 4, 4),
    "whisper_medium": Size(1024, 16, 4096, 24, 24),
}


class StreamCache(NamedTuple):
    """The state that `WhisperSign.stream_step` keeps between chunks; its size never changes."""

    features: FeatureState
    tail: jax.Array  # (B, taps - 1, D) embedded patches that the frontend's convolution still needs
    rings: KeysValues  # keys and values of all blocks, (blocks, B, L + C, H, K) each


class WhisperSign(nnx.Module):
    """Hand keypoints in, CTC and attention-decoder logits out."""

    def __init__(
        self, config: ConfigDict, vocab_size: int, *, dtype: Any = jnp.float32, rngs: nnx.Rngs
    ):
        """Builds the network of `config.model`; parameters and logits are float32 in any `dtype`."""
        self.wrist_place = config.wrist_place
        size = SIZES[config.size]
        shape = (size.width, size.heads, size.hidden)
        self.frontend = frontend.Frontend(config.frontend, size.width, dtype=dtype, rngs=rngs)
        self.encoder = encoder.Encoder(
            *shape,
            config.encoder.num_layers or size.encoder_layers,
            config.encoder.dropout,
            config.positions,
            dtype=dtype,
            rngs=rngs,
        )
        self.ctc_dropout = Dropout(config.ctc_dropout)
        self.ctc_head = Linear(size.width, vocab_size, dtype=dtype, rngs=rngs)
        self.decoder = decoder.Decoder(
            *shape,
            config.decoder.num_layers or size.decoder_layers,
            config.decoder.dropout,
            vocab_size,
            dtype=dtype,
            rngs=rngs,
        )

    def features(self, positions: jax.Array, confidence: jax.Array, frames: jax.Array) -> jax.Array:
        """Returns the (B, T, J, F) normalized features of keypoints; see `features_of_sequences`."""
        return features_of_sequences(positions, confidence, frames, wrist_place=self.wrist_place)

    def encode(
        self,
        features: jax.Array,
        frames: jax.Array,
        *,
        chunk: jax.Array | np.int32 | int = attention.FULL_ATTENTION,
        left_context: jax.Array | np.int32 | int = 0,
        dropout_keys: DropoutKeys | None = None,
        remat: bool = False,
        tables: tuple[jax.Array, ...] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes sequences.

        Args:
            features: (B, T, J, F) from `features`.
            frames: (B,) valid frames; frames beyond them change nothing.
            chunk: attention's chunk C in patches; full attention by default.
            left_context: L, patches seen before the chunk.
            dropout_keys: None for evaluation, without dropout.
            remat: whether to keep only the encoder blocks' inputs for a gradient, and compute the rest
                again.
            tables: from `positions.position_tables` for N patches if T is symbolic; otherwise made here.

        Returns:
            (B, N, D) encoded patches, and (B,) how many of them are valid.
        """
        x, patches = self.frontend(features, frames, dropout_keys=dropout_keys)
        mask = attention.attention_mask(patches, x.shape[1], chunk, left_context)
        x = self.encoder(x, mask, dropout_keys=dropout_keys, remat=remat, tables=tables)
        return x, patches

    def stream_start(self, rows: int, chunk: int, left_context: int) -> StreamCache:
        """Returns the cache of a stream before its first chunk."""
        return StreamCache(
            initial_state(rows),
            self.frontend.start(rows),
            self.encoder.start(rows, left_context + chunk),
        )

    def stream_step(
        self, chunk: Chunk, cache: StreamCache, apart: Sequence[Any] = ()
    ) -> tuple[jax.Array, StreamCache]:
        """Encodes a stream's next chunk, with the result of `encode` on the whole stream.

        Args:
            chunk: the frames.
            cache: from `stream_start` or the previous step.
            apart: the encoder blocks' parameters; see `layers.scan_blocks`.

        Returns:
            (B, C, D) encoded patches from `chunk.first` on, meaningless outside of the stream; and the
            cache.
        """
        features, before = features_of_chunk(
            chunk.positions,
            chunk.confidence,
            chunk.begin,
            chunk.end,
            cache.features,
            wrist_place=self.wrist_place,
        )
        x, tail = self.frontend.step(features, chunk.begin, chunk.end, cache.tail)
        x, rings = self.encoder.step(
            x, chunk.first, chunk.patches, chunk.angles, cache.rings, apart
        )
        return x, StreamCache(before, tail, rings)

    def ctc_logits(
        self, encoded: jax.Array, *, dropout_keys: DropoutKeys | None = None
    ) -> jax.Array:
        """Maps (B, N, D) to (B, N, V) float32 logits; id 0 is the blank."""
        x = self.ctc_dropout(encoded, dropout_keys)
        assert self.ctc_head.bias is not None
        return logits(x, self.ctc_head.kernel[...]) + self.ctc_head.bias[...][None, None]


def build_network(
    config: ConfigDict, vocab_size: int, dtype: Any = jnp.float32
) -> tuple[nnx.GraphDef, Params]:
    """Returns the network's structure and the shapes of its parameters, without computing anything.

    Returns:
        The graph definition for `bind_params`, and parameters as `jax.ShapeDtypeStruct`s.
    """
    model = nnx.eval_shape(lambda: WhisperSign(config, vocab_size, dtype=dtype, rngs=nnx.Rngs(0)))
    graph, params = nnx.split(model, nnx.Param)
    return graph, nnx.to_pure_dict(params)


def init_params(config: ConfigDict, shapes: Params, seed: int) -> Params:
    """Returns fresh float32 parameters, on the devices that the shapes of `build_network` name.

    The numbers depend on the config and the seed, not on the devices.
    """
    leaves, structure = jax.tree.flatten(shapes)
    vocab_size = shapes["ctc_head"]["bias"].shape[0]
    places = tuple(leaf.sharding for leaf in leaves)
    draw = _initializer(FrozenConfigDict(config), vocab_size, places)
    return jax.tree.unflatten(structure, draw(jax.random.key(seed, impl=HASHED)))


@functools.lru_cache(maxsize=8)
def _initializer(
    config: FrozenConfigDict, vocab_size: int, places: tuple[Any, ...]
) -> Callable[[jax.Array], list[jax.Array]]:
    """Makes the program that draws all parameters; it is compiled once."""

    def draw(key: jax.Array) -> list[jax.Array]:
        model = WhisperSign(config, vocab_size, rngs=nnx.Rngs(key))
        return jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param)))

    return jax.jit(draw, out_shardings=list(places))


def bind_params(graph: nnx.GraphDef, params: Params) -> WhisperSign:
    """Returns the network with these parameters; cheap inside a jitted function."""
    return nnx.merge(graph, params)


def parameter_paths(params: Params) -> dict[str, Any]:
    """Returns parameters by their path, for example 'encoder/blocks/mlp/up/kernel'."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in flat}


def layer_paths(path: str, leaf: Any) -> list[str]:
    """Returns the path of every layer of a stacked parameter; any other parameter's own path.

    For example, 'encoder/blocks/mlp/up/kernel' of (2, D, M) gives 'encoder/blocks/0/mlp/up/kernel' and
    'encoder/blocks/1/mlp/up/kernel'.
    """
    stack, blocks, rest = path.partition("/blocks/")
    return [f"{stack}/blocks/{n}/{rest}" for n in range(leaf.shape[0])] if blocks else [path]


def unstack_params(params: Params) -> dict[str, jax.Array]:
    """Returns parameters by path; those that lie stacked one by one, by their `layer_paths`."""
    return {
        layer: leaf if layer == path else leaf[n]
        for path, leaf in parameter_paths(params).items()
        for n, layer in enumerate(layer_paths(path, leaf))
    }


def computes_in_float32(path: str) -> bool:
    """Whether the network uses a parameter in float32 whatever its precision, given its path."""
    return re.search(r"^ctc_head/|^decoder/embed/|norm/", path) is not None


def group_of(path: str) -> str:
    """The group that a path is listed in: 'frontend', 'encoder/blocks/0', 'encoder/norm', ..."""
    match = re.match(r"(encoder|decoder)/(blocks/[\d-]+|[^/]+)|[^/]+", path)
    assert match is not None
    return match[0]


def check_length(config: ConfigDict, max_seq_length: int) -> None:
    """Raises a `WSignError` if sequences are longer than the positions reach."""
    patches = -(-max_seq_length // config.frontend.patch_size)
    if config.positions == SINUSOIDAL and patches > MAX_SINUSOIDAL_PATCHES:
        raise WSignError(
            f"config.data.max_seq_length={max_seq_length} makes {patches} patches, and sinusoidal "
            f"positions end at {MAX_SINUSOIDAL_PATCHES}; lower it, or set model.positions=rotary"
        )

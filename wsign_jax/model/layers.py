"""Small layers that differ from Flax's own, stacks of blocks, and the random bits of both."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.random import define_prng_impl

Block = TypeVar("Block", bound=nnx.Module)

_UNROLLED = 2  # the most blocks that become copies on a CPU


class Linear(nnx.Linear):
    """`nnx.Linear` that takes (..., D) as one matrix of rows, and begins with uniform weights.

    A weight's gradient is then one product of two matrices. Over (B, N, D), XLA on a CPU first makes a
    transposed copy of the incoming gradient, which costs 7 % of a base-size training step.

    Uniform numbers take a fraction of the time of Flax's truncated normal ones, to compile and to draw;
    their variance is the same (LeCun et al. 1998, "Efficient BackProp").
    """

    def __init__(self, inputs: int, outputs: int, **settings: Any):
        super().__init__(inputs, outputs, kernel_init=nnx.initializers.lecun_uniform(), **settings)

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        """Maps (..., D) to (..., M)."""
        rows = super().__call__(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], rows.shape[-1])


def logits(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies (..., D) by (D, V) in the dtype of x, and sums in float32: (..., V) float32."""
    rows = x.reshape(-1, x.shape[-1])
    found = jnp.matmul(rows, kernel.astype(x.dtype), preferred_element_type=jnp.float32)
    return found.reshape(*x.shape[:-1], -1)


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU: x times the normal distribution's share below x; the same shape.

    Hendrycks & Gimpel 2016, arXiv:1606.08415. It is computed in float32 whatever the dtype of x: for
    negative x, 1 + erf subtracts two numbers that are nearly equal. `jax.nn.gelu` calls erfc, a far
    larger program: a base-size training step took 2 % longer and a tenth more time to compile.
    """
    precise = x.astype(jnp.float32)
    share = 0.5 + 0.5 * jax.lax.erf(precise * 0.5**0.5)
    return (precise * share).astype(x.dtype)


def layer_norm(width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Returns Whisper's LayerNorm: epsilon is 1e-5, while Flax's default is 1e-6."""
    return nnx.LayerNorm(width, epsilon=1e-5, dtype=dtype, rngs=rngs)


def _mix(x: jax.Array) -> jax.Array:
    """Maps uint32 one to one so that each input bit changes about half of the output bits.

    Wellons 2018, https://nullprogram.com/blog/2018/07/31/ ("lowbias32").
    """
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _hash(key: jax.Array, x: jax.Array) -> jax.Array:
    """Hashes x to uniform uint32 of its shape; each (2,) key permutes all numbers in another way."""
    return _mix(_mix(x ^ key[0]) ^ key[1])


def _indices(shape: Sequence[int]) -> jax.Array:
    """The index of every value of an array of a shape, in their order: uint32."""
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(stride % 2**32)
        stride *= shape[axis]
    return index


def _bits(key: jax.Array, width: int, shape: Sequence[int]) -> jax.Array:
    return _hash(key, _indices(shape)).astype(f"uint{width}")


# A generator for `jax.random` that hashes a value's index. JAX's own is a program apart for every array
# drawn, on a CPU with a loop. A hash is ordinary arithmetic, which the compiler fuses with what is done
# with the values: base-size weights are drawn in a ninth of the time, by a program that takes 2 s of a
# processor to compile instead of 7. A tiny model's step takes about 5 % less time.
HASHED = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jnp.stack([jnp.uint32(0), seed.astype(jnp.uint32)]),
    split=lambda key, shape: _hash(key, _indices((*shape, 2))),
    random_bits=_bits,
    fold_in=lambda key, data: _hash(key, 2 * jnp.asarray(data, jnp.uint32) + _indices((2,))),
    name="hashed",
    tag="hashed",
)


class DropoutKeys:
    """Gives every layer a key of its own, in the order in which layers ask for one."""

    def __init__(self, key: jax.Array):
        """Starts from a layer's key, for example the `next` of outer keys."""
        self._key = key
        self._given = 0

    @classmethod
    def of(cls, key: jax.Array) -> "DropoutKeys":
        """Starts from a key of any of `jax.random`'s generators."""
        return cls(jax.random.wrap_key_data(jax.random.bits(key, (2,)), impl=HASHED))

    def next(self) -> jax.Array:
        """Returns a key that was not given before."""
        self._given += 1
        return jax.random.fold_in(self._key, self._given)


class Dropout(nnx.Module):
    """Sets values to 0 with a probability, and scales the others up so that the mean stays.

    Srivastava et al. 2014, JMLR 15.
    """

    def __init__(self, rate: float, shared_axes: Sequence[int] = ()):
        """Makes a layer.

        Args:
            rate: the probability.
            shared_axes: axes along which all values share one draw.
        """
        self.rate = rate
        self.shared_axes = tuple(shared_axes)

    def __call__(self, x: jax.Array, keys: DropoutKeys | None) -> jax.Array:
        """Returns the same shape; x itself without keys, as in evaluation."""
        if keys is None or self.rate == 0:
            return x
        shape = [1 if axis in self.shared_axes else size for axis, size in enumerate(x.shape)]
        kept = jax.random.bernoulli(keys.next(), 1.0 - self.rate, shape)
        # In float16 the scale of the highest rates would be infinite, and make NaN of a gradient of 0.
        scale = min(1.0 / max(1.0 - self.rate, 1e-30), float(jnp.finfo(x.dtype).max))
        return jnp.where(kept, x * jnp.asarray(scale, x.dtype), jnp.zeros((), x.dtype))


def stack(make: Callable[[nnx.Rngs], Block], layers: int, rngs: nnx.Rngs) -> Block:
    """Makes L equal blocks as one, whose every parameter has a leading axis of L."""
    return nnx.split_rngs(splits=layers)(nnx.vmap(make))(rngs)


def block_of(blocks: Block, number: int) -> Block:
    """Returns one block of a stack; negative numbers count from the last."""
    graph, params = nnx.split(blocks)
    return nnx.merge(graph, jax.tree.map(lambda p: p[number], params))


def parameters_apart(stacked: Any) -> list[Any]:
    """Returns a stack's parameters, a tree of (L, ...) arrays, as a tree for each block."""
    count = len(jax.tree.leaves(stacked)[0])
    return [jax.tree.map(operator.itemgetter(number), stacked) for number in range(count)]


def depth(blocks: nnx.Module) -> int:
    """Returns how many blocks a stack has."""
    return len(jax.tree.leaves(nnx.state(blocks))[0])


def scan_blocks(
    step: Callable[..., tuple[Any, Any]],
    blocks: nnx.Module,
    carried: Any,
    each: Any = None,
    *,
    remat: bool = False,
    apart: Sequence[Any] = (),
) -> tuple[Any, Any]:
    """Calls a function with one block of a stack after the other, like `jax.lax.scan`.

    The function is traced and differentiated once, and on a TPU compiled once, however many blocks there
    are. On a GPU blocks become copies: a base-size step starts half as many kernels as with a loop, and
    takes less than half the memory. On a CPU only a few do: so a tiny model's step takes a seventh less
    time. A base-size step showed no such gain, and with copies takes half as long again to compile.

    Args:
        step: takes a block, what is carried, and the block's part of `each`; returns what is carried on
            and an output.
        blocks: from `stack`.
        carried: what the first block takes.
        each: trees of arrays with an axis of L, for example keys and values.
        remat: whether the backward pass calls `step` again instead of keeping its inner values.
        apart: the blocks' parameters once more, from `parameters_apart`. A program on a CPU copies a
            block's parameters out of a stack whenever it runs, which takes as long as the rest of a
            stream's step at base size.

    Returns:
        What the last block carries on, and the outputs with an axis of L.
    """
    graph, params = nnx.split(blocks)
    backend = jax.default_backend()
    unrolled = backend == "gpu" or (backend == "cpu" and depth(blocks) <= _UNROLLED)

    def run(carried: Any, layer: tuple[Any, Any]) -> tuple[Any, Any]:
        params, own = layer
        return step(nnx.merge(graph, params), carried, own)

    if apart:
        outputs = []
        for number, layer in enumerate(apart):
            carried, output = run(carried, (layer, jax.tree.map(operator.itemgetter(number), each)))
            outputs.append(output)
        return carried, jax.tree.map(lambda *layers: jnp.stack(layers), *outputs)
    if remat:  # within a loop nothing can undo it
        run = jax.checkpoint(run, prevent_cse=unrolled)
    return jax.lax.scan(run, carried, (params, each), unroll=unrolled)


def run_blocks(
    blocks: nnx.Module,
    x: jax.Array,
    *context: Any,
    dropout_keys: DropoutKeys | None = None,
    remat: bool = False,
) -> jax.Array:
    """Runs x through one block after the other.

    Args:
        blocks: from `stack`; called with x, `context` and `dropout_keys`.
        x: (B, N, D).
        context: further arguments of each block; trees of arrays.
        dropout_keys: each block gets keys of its own; None for no dropout.
        remat: whether the backward pass computes a block again instead of keeping its inner values.

    Returns:
        (B, N, D).
    """

    def step(block: Any, x: jax.Array, key: jax.Array | None) -> tuple[jax.Array, None]:
        return block(x, *context, dropout_keys=None if key is None else DropoutKeys(key)), None

    # Drawn outside of `step`, so that computing it again draws the same.
    keys = None if dropout_keys is None else jax.random.split(dropout_keys.next(), depth(blocks))
    return scan_blocks(step, blocks, x, keys, remat=remat)[0]

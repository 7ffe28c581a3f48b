"""A stack of blocks of the same structure, traced once for all of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from wsign_jax.model.dropout import DropoutKeys, Words


def through(
    blocks: Sequence[nnx.Module],
    x: jax.Array,
    *context: Any,
    dropout_keys: DropoutKeys | None = None,
    remat: bool = False,
) -> jax.Array:
    """What comes of x in one block after the other.

    JAX traces, differentiates and lowers once what `jax.jit` is of, whatever number of blocks: half of
    the time that a base-size training step takes before it is compiled. The compiler then sees the same.

    Args:
        blocks: called with x, `context` and `dropout_keys`; alike but for their parameters.
        x: (B, N, D).
        context: whatever else each is called with; trees of arrays.
        dropout_keys: each block gets keys of its own; None: no dropout.
        remat: whether a backward pass computes a block again instead of keeping what is inside it.

    Returns:
        (B, N, D).
    """
    run: Callable[..., jax.Array] = functools.partial(_run, nnx.graphdef(blocks[0]))
    if remat:
        run = jax.checkpoint(run)
    for block in blocks:
        # Drawn out here: whatever traces `run` again is to draw the same.
        key = None if dropout_keys is None else dropout_keys.next()
        x = run(nnx.state(block), x, context, key)
    return x


@functools.partial(jax.jit, static_argnums=0)
def _run(
    graph: nnx.GraphDef,
    params: nnx.State,
    x: jax.Array,
    context: tuple[Any, ...],
    key: Words | None,
) -> jax.Array:
    """What a block of this structure and these parameters returns."""
    keys = None if key is None else DropoutKeys(key)
    return nnx.merge(graph, params)(x, *context, dropout_keys=keys)

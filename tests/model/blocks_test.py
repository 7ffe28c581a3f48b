import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from wsign_jax.model.blocks import through
from wsign_jax.model.dropout import Dropout, DropoutKeys

WIDTH = 8


class Block(nnx.Module):
    """x and context, mixed; counts how often it was traced."""

    traced = 0

    def __init__(self, seed):
        self.mix = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(seed))
        self.dropout = Dropout(0.5)

    def __call__(self, x, context, *, dropout_keys=None):
        Block.traced += 1
        return x + self.dropout(jnp.tanh(self.mix(x) + context), dropout_keys)


class Stack(nnx.Module):
    """Four blocks."""

    def __init__(self):
        self.blocks = nnx.data([Block(seed) for seed in range(4)])


X, CONTEXT = jax.random.normal(jax.random.key(0), (2, 3, 5, WIDTH))


def one_by_one(blocks, x, context, dropout_keys):
    for block in blocks:
        keys = None if dropout_keys is None else DropoutKeys(dropout_keys.next())
        x = block(x, context, dropout_keys=keys)
    return x


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
def test_blocks_compute_what_they_do_one_by_one_and_so_do_gradients(dropout, remat):
    graph, params = nnx.split(Stack())

    def total(go, params, context):
        keys = DropoutKeys.of(jax.random.key(1)) if dropout else None
        out = go(nnx.merge(graph, params).blocks, X, context, dropout_keys=keys)
        return jnp.sum(jnp.sin(out)), out

    results = [
        jax.jit(jax.value_and_grad(functools.partial(total, go), (0, 1), has_aux=True))(
            params, CONTEXT
        )
        for go in (one_by_one, functools.partial(through, remat=remat))
    ]
    for expected, found in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_blocks_are_traced_once_for_all_and_for_all_calls():
    Block.traced = 0
    for seed in (1, 2):
        through(
            Stack().blocks, X[:1], CONTEXT[:1], dropout_keys=DropoutKeys.of(jax.random.key(seed))
        )
    assert Block.traced == 1


def test_each_block_drops_others():
    same = [Block(0)] * 2
    keys = DropoutKeys.of(jax.random.key(1))
    zeros = jnp.zeros_like(X)
    first = through(same[:1], zeros, CONTEXT, dropout_keys=keys)
    both = through(same, zeros, CONTEXT, dropout_keys=DropoutKeys.of(jax.random.key(1)))
    dropped = [np.asarray(x == 0) for x in (first, both - first)]
    assert 0.3 < dropped[0].mean() < 0.7 and not np.array_equal(*dropped)

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.decode.greedy import greedy


def by_the_book(ids):
    return [int(i) for i, _ in itertools.groupby(ids) if i != 0]


def test_collapses_repeats_then_drops_blanks():
    ids = np.array([[1, 1, 0, 1, 2, 2, 0, 0], [0, 3, 3, 3, 0, 3, 1, 2], [0] * 8, [2] * 8])
    patches = np.array([8, 6, 8, 0])
    decoded = greedy(jax.nn.one_hot(ids, 4), jnp.asarray(patches, jnp.int32))
    for row, count in enumerate(patches):
        expected = by_the_book(ids[row, :count])
        assert decoded.labels[row, : decoded.label_lengths[row]].tolist() == expected
        assert not decoded.labels[row, decoded.label_lengths[row] :].any()
    assert decoded.blanks.tolist() == [3, 2, 8, 0]


def test_random_ids_as_by_the_book():
    ids = np.random.default_rng(0).integers(0, 3, size=(64, 20))
    patches = np.arange(64, dtype=np.int32) % 21
    decoded = jax.jit(greedy)(jax.nn.one_hot(ids, 3), patches)
    for row in range(64):
        found = decoded.labels[row, : decoded.label_lengths[row]].tolist()
        assert found == by_the_book(ids[row, : patches[row]])

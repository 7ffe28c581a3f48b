import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from wsign_jax.common.errors import WSignError
from wsign_jax.train import sharding

SHARD_ALL = ((".*", "shard"),)


def specs(tree):
    return jax.tree.map(lambda x: x.sharding.spec, tree)


def shapes(**sizes):
    return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in sizes.items()}


def test_the_largest_axis_that_the_devices_divide_is_cut():
    tree = shapes(a=(16, 24), b=(24, 16), c=(99, 8), d=(9, 12), e=(), f=(8,))
    placed = sharding.place_params(tree, SHARD_ALL, AbstractMesh((8,), ("data",)))
    assert specs(placed) == {
        "a": PartitionSpec(None, "data"),
        "b": PartitionSpec("data"),
        "c": PartitionSpec(None, "data"),
        "d": PartitionSpec(),
        "e": PartitionSpec(),
        "f": PartitionSpec("data"),
    }


def test_only_what_a_rule_names_is_sharded():
    rules = (("a", "shard"), (".*", "replicate"))
    placed = sharding.place_params(shapes(a=(8,), b=(8,)), rules, AbstractMesh((8,), ("data",)))
    assert specs(placed) == {"a": PartitionSpec("data"), "b": PartitionSpec()}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            (("a", "split"),),
            r"config.training.sharding: .* is not \(path pattern, 'replicate' \| 'shard'\)",
        ),
        ((("a", "shard"),), "config.training.sharding: no rule covers 'b'"),
        ((("c", "shard"), (".*", "shard")), "'c' matches no parameter"),
    ],
)
def test_rules_that_do_not_fit_are_named(rules, message):
    with pytest.raises(WSignError, match=message):
        sharding.place_params(shapes(a=(8,), b=(8,)), rules, AbstractMesh((8,), ("data",)))

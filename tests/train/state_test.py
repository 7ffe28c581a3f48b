import functools

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from tests.conftest import small_config
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.train import optimizer, sharding, stages, state

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


def test_moments_and_averages_lie_where_their_parameter_does():
    _, sizes = whisper_sign.build(small_config().model, 7)
    rules = (("encoder/.*", "shard"), (".*", "replicate"))
    placed = sharding.place_params(sizes, rules, sharding.make_mesh())
    params = whisper_sign.init(small_config().model, placed, 0)
    labels = stages.label_parameters(sizes, (("frontend/.*", "freeze"), (".*", "train")), "stage2")
    tx = optimizer.make_optimizer(labels, stages.StepSettings(), 1.0)
    make = functools.partial(state.create, tx=tx, step=3, ema=True, loss_scale=8.0)
    created = state.create_placed(make, params, placed)
    assert specs(created.params) == specs(created.ema) == specs(placed)
    assert created.params["encoder"]["norm"]["scale"].sharding.spec == PartitionSpec("data")
    adam = created.opt_state.inner_states["train"].inner_state[1][0]
    for moments in (adam.mu, adam.nu):
        assert specs(moments)["encoder"] == specs(placed)["encoder"]
        assert specs(moments)["decoder"] == specs(placed)["decoder"]
    for scalar in (created.step, adam.count, created.loss_scale.scale):
        assert scalar.sharding.spec == PartitionSpec()
    assert int(created.step) == 3
    described = state.abstract(make, placed)
    for x, y in zip(jax.tree.leaves(described), jax.tree.leaves(created), strict=True):
        assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding)

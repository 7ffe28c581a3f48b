import functools

import jax
from jax.sharding import PartitionSpec

from tests.conftest import small_config
from wsign_jax.model import whisper_sign
from wsign_jax.train import optimizer, sharding, stages
from wsign_jax.train.state import abstract_state, create_placed_state, create_state


def specs(tree):
    return jax.tree.map(lambda x: x.sharding.spec, tree)


def test_moments_and_averages_lie_where_their_parameter_does():
    _, sizes = whisper_sign.build_network(small_config().model, 7)
    rules = (("encoder/.*", "shard"), (".*", "replicate"))
    placed = sharding.place_params(sizes, rules, sharding.make_mesh())
    params = whisper_sign.init_params(small_config().model, placed, 0)
    labels = stages.label_parameters(sizes, (("frontend/.*", "freeze"), (".*", "train")), "stage2")
    tx = optimizer.make_optimizer(labels, stages.StepSettings(), 1.0)
    make = functools.partial(create_state, tx=tx, step=3, ema=True, loss_scale=8.0)
    created = create_placed_state(make, params, placed)
    assert specs(created.params) == specs(created.ema) == specs(placed)
    assert created.params["encoder"]["norm"]["scale"].sharding.spec == PartitionSpec("data")
    adam = created.opt_state.inner_states["train"].inner_state[1][0]
    for moments in (adam.mu, adam.nu):
        assert specs(moments)["encoder"] == specs(placed)["encoder"]
        assert specs(moments)["decoder"] == specs(placed)["decoder"]
    for scalar in (created.step, adam.count, created.loss_scale.scale):
        assert scalar.sharding.spec == PartitionSpec()
    assert int(created.step) == 3
    described = abstract_state(make, placed)
    for x, y in zip(jax.tree.leaves(described), jax.tree.leaves(created), strict=True):
        assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.model import whisper_sign
from wsign_jax.train import optimizer, stages

PARAMS = {
    "encoder": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "head": {"bias": jnp.ones(2)},
}
BLOCKS = {
    "encoder": {"blocks": {"bias": jnp.ones((3, 2))}, "norm": jnp.ones(2)},
    "head": jnp.ones((2, 2)),
}


def settings(lr=0.1, decay=0.5):
    return stages.StepSettings(*map(np.float32, (lr, decay, 1)), np.int32(1), np.int32(0))


def test_no_gradient_reaches_what_is_frozen():
    labels = {"encoder": {"kernel": "freeze", "bias": "train"}, "head": {"bias": "train"}}

    def total(params):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(optimizer.stop_frozen(params, labels)))

    grads = jax.grad(total)(PARAMS)
    np.testing.assert_array_equal(grads["encoder"]["kernel"], 0.0)
    np.testing.assert_array_equal(grads["encoder"]["bias"], 1.0)
    np.testing.assert_array_equal(grads["head"]["bias"], 1.0)


@pytest.mark.usefixtures("standard_promotion")
def test_frozen_parameters_have_no_state_and_do_not_count_in_the_clipped_norm():
    labels = {"encoder": {"kernel": "freeze", "bias": "freeze"}, "head": {"bias": "train"}}
    tx = optimizer.make_optimizer(labels, settings(), grad_clip=1.0)
    opt_state = tx.init(PARAMS)
    arrays = [leaf for leaf in jax.tree.leaves(opt_state) if leaf.ndim]
    assert sorted(leaf.shape for leaf in arrays) == [(2,), (2,)], "two moments of head/bias only"
    small = {
        "encoder": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)},
        "head": {"bias": jnp.array([0.3, 0.4])},
    }
    huge = {
        "encoder": {"kernel": jnp.full((2, 2), 1e9), "bias": jnp.ones(2)},
        "head": small["head"],
    }
    first, _ = tx.update(small, opt_state, PARAMS)
    second, _ = tx.update(huge, opt_state, PARAMS)
    np.testing.assert_array_equal(first["head"]["bias"], second["head"]["bias"])
    for leaf in jax.tree.leaves(second["encoder"]):
        np.testing.assert_array_equal(leaf, 0.0)


@pytest.mark.usefixtures("standard_promotion")
def test_two_steps_of_adamw_by_hand():
    # A rate of 0.1 and gradients of 0.3 and 0.6. m is 0.1 * 0.3 = 0.03, then 0.9 * 0.03 + 0.1 * 0.6 =
    # 0.087, over 1 - 0.9^t: 0.3, 0.457895. v is 0.02 * 0.09 = 0.0018, then 0.98 * 0.0018 + 0.02 * 0.36 =
    # 0.008964, over 1 - 0.98^t: 0.09, 0.226364. m / sqrt(v) is 1, then 0.962415. Of a matrix half is
    # decayed, at the same rate.
    labels = {"kernel": "train", "bias": "train"}
    params = {"kernel": jnp.array([[2.0]]), "bias": jnp.array([2.0])}
    tx = optimizer.make_optimizer(labels, settings(lr=0.1, decay=0.5), grad_clip=1.0)
    opt_state = tx.init(params)
    for grad, expected in ((0.3, 0.1), (0.6, 0.0962415)):
        grads = jax.tree.map(lambda p, grad=grad: jnp.full(p.shape, grad), params)
        updates, opt_state = tx.update(grads, opt_state, params)
        np.testing.assert_allclose(updates["bias"], [-expected], rtol=1e-5)
        np.testing.assert_allclose(updates["kernel"], [[-expected - 0.1]], rtol=1e-5)


@pytest.mark.parametrize(
    ("grads", "known", "expected"),
    [
        (([3.0], [[4.0]]), None, ([0.6], [[0.8]])),  # the norm of all together is 5
        (([0.3], [[0.4]]), None, ([0.3], [[0.4]])),
        (([0.3], [[0.4]]), 2.0, ([0.15], [[0.2]])),
        (([0.0], [[0.0]]), None, ([0.0], [[0.0]])),
    ],
)
def test_clipping_by_hand(grads, known, expected):
    grads = jax.tree.map(jnp.asarray, {"bias": grads[0], "kernel": grads[1]})
    clip = optimizer._clip(1.0, None if known is None else jnp.asarray(known))
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(clipped["bias"], expected[0], rtol=1e-6)
    np.testing.assert_allclose(clipped["kernel"], expected[1], rtol=1e-6)


@pytest.mark.usefixtures("standard_promotion")
def test_a_share_of_the_learning_rate_is_that_share_of_the_whole_update():
    rules = (("encoder/.*", "train", 0.5, 0.1), (".*", "train"))
    labels = stages.label_parameters(BLOCKS, rules, "stage2")
    rates = stages.learning_rates(BLOCKS, rules, "stage2")
    grads = jax.tree.map(lambda p: p * 0.3, BLOCKS)
    plain = optimizer.make_optimizer(labels, settings(), 1.0)
    scaled = optimizer.make_optimizer(labels, settings(), 1.0, rates)
    before, after = plain.init(BLOCKS), scaled.init(BLOCKS)
    assert jax.tree.structure(before) == jax.tree.structure(after), "checkpoints would not fit"
    full, before = plain.update(grads, before, BLOCKS)
    shared, after = scaled.update(grads, after, BLOCKS)
    for path, of_each in {"norm": 0.5, "blocks/bias": np.array([[0.005], [0.05], [0.5]])}.items():
        f, s = (whisper_sign.parameter_paths(u)[f"encoder/{path}"] for u in (full, shared))
        np.testing.assert_allclose(s, f * of_each, rtol=1e-6)
    np.testing.assert_array_equal(shared["head"], full["head"])
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.usefixtures("standard_promotion")
def test_some_layers_of_a_stack_are_frozen():
    """They have no gradient, and move by exactly 0; biases of a stack are no matrices to decay."""
    rules = (("encoder/blocks/[02]/.*", "freeze"), (".*", "train"))
    labels = stages.label_parameters(BLOCKS, rules, "stage2")
    assert labels["encoder"]["blocks"]["bias"] == ("freeze", "train", "freeze")

    def total(params):
        return sum(jnp.sum(p) for p in jax.tree.leaves(optimizer.stop_frozen(params, labels)))

    grads = jax.grad(total)(BLOCKS)
    assert grads["encoder"]["blocks"]["bias"].tolist() == [[0, 0], [1, 1], [0, 0]]
    tx = optimizer.make_optimizer(labels, settings(lr=0.1, decay=0.5), 1e9)
    updates, _ = tx.update(grads, tx.init(BLOCKS), BLOCKS)
    np.testing.assert_allclose(
        updates["encoder"]["blocks"]["bias"], [[0, 0], [-0.1, -0.1], [0, 0]], rtol=1e-5
    )
    assert [*map(float, updates["head"][0])] == pytest.approx([-0.15, -0.15]), "a matrix decays"
    table = stages.training_table(BLOCKS, labels, stages.learning_rates(BLOCKS, rules, "stage2"))
    assert [line.split()[:3] for line in table.splitlines()] == [
        ["freeze", "encoder", "4"],
        ["train", "encoder", "4"],
        ["train", "head", "4"],
    ]

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from tests.conftest import small_config
from wsign_jax.common.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.train import optimizer, stages

PARAMS = {
    "encoder": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "head": {"bias": jnp.ones(2)},
}


def test_the_first_rule_that_matches_wins():
    rules = (("encoder/bias", "train"), ("encoder/.*", "freeze"), (".*", "train"))
    labels = stages.label_parameters(PARAMS, rules, "stage1")
    assert labels == {
        "encoder": {"kernel": "freeze", "bias": "train"},
        "head": {"bias": "train"},
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("encoder/.*", "train"),), r"config.stage1.rules: no rule covers 'head/bias'"),
        (
            (("encoder/.*", "melt"), (".*", "train")),
            r"is not \(path pattern, 'train' \| 'freeze'\)",
        ),
        ((("encoder/.*",),), r"is not \(path pattern"),
        ((("(", "train"),), "'\\(' is no regular expression"),
        ((("encodr/.*", "train"), (".*", "train")), "'encodr/.*' matches no parameter"),
        (((".*", "freeze"),), "nothing is left to train"),
    ],
)
def test_bad_rules_are_named(rules, message):
    with pytest.raises(WSignError, match=message):
        stages.label_parameters(PARAMS, rules, "stage1")


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_the_default_rules_cover_the_model_as_the_design_says(stage):
    _, shapes = whisper_sign.build(small_config().model, 7)
    labels = stages.label_parameters(shapes, base.get_config()[stage].rules, stage)
    for path, label in whisper_sign.parameter_paths(labels).items():
        warm_up = path.startswith(("frontend/", "ctc_head/"))
        assert label == ("train" if warm_up or stage != "stage1" else "freeze"), path


def test_no_gradient_reaches_what_is_frozen():
    labels = {"encoder": {"kernel": "freeze", "bias": "train"}, "head": {"bias": "train"}}

    def total(params):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(optimizer.stop_frozen(params, labels)))

    grads = jax.grad(total)(PARAMS)
    np.testing.assert_array_equal(grads["encoder"]["kernel"], 0.0)
    np.testing.assert_array_equal(grads["encoder"]["bias"], 1.0)
    np.testing.assert_array_equal(grads["head"]["bias"], 1.0)


def settings(lr=0.1, decay=0.5):
    return stages.StepSettings(*map(np.float32, (lr, decay, 1)), np.int32(1), np.int32(0))


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


@pytest.mark.parametrize(
    ("steps", "warmup", "expected"),
    [
        # Two of ten steps warm up at most; 0.5 * (1 + cos(pi * n / 8)) for n from 0 to 7.
        (
            10,
            500,
            [1 / 3, 2 / 3, 1.0, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.0380602],
        ),
        (6, 0, [1.0, 0.933013, 0.75, 0.5, 0.25, 0.0669873]),  # cos(pi * n / 6)
        (4, 500, [1.0, 0.853553, 0.5, 0.146447]),  # too few to warm up
        (1, 500, [1.0]),
    ],
)
def test_the_learning_rate_by_hand(steps, warmup, expected):
    rates = [stages.learning_rate(2.0, step, steps, warmup) for step in range(steps)]
    np.testing.assert_allclose(rates, 2 * np.array(expected), rtol=1e-5)


def test_the_settings_of_a_step_count_from_its_stages_first():
    stage, training = base.get_config().stage2, base.get_config().training
    stage.update(lr=0.2, weight_decay=0.03, alpha=0.4)
    found = stages.step_settings(stage, training, step=1005, first_step=1000, steps=10)
    np.testing.assert_allclose(found[:3], [0.2 * 0.691342, 0.03, 0.4], rtol=1e-5)
    assert (found.chunk, found.left_context) == (FULL_ATTENTION, 0)


def test_windows_are_drawn_per_step_from_the_configured_sets():
    stage = base.get_config().stage3
    stage.chunks, stage.left_contexts = (0, 2, 8), (16, 32)
    training = base.get_config().training
    drawn = [stages.step_settings(stage, training, step, 0, 100) for step in range(60)]
    assert {int(s.chunk) for s in drawn} == {FULL_ATTENTION, 2, 8}
    assert {int(s.left_context) for s in drawn} == {16, 32}
    assert drawn[7] == stages.step_settings(stage, training, 7, 0, 100)
    training.seed = 43
    other = [stages.step_settings(stage, training, step, 0, 100) for step in range(60)]
    assert drawn != other


def table_of(rules):
    _, shapes = whisper_sign.build(small_config().model, 7)
    labels = stages.label_parameters(shapes, rules, "stage1")
    rates = stages.learning_rates(shapes, rules, "stage1")
    return stages.training_table(shapes, labels, rates).splitlines(), shapes


def test_the_table_counts_every_parameter_once():
    table, shapes = table_of(base.get_config().stage1.rules)
    counts = [int(line.split()[2].replace(",", "")) for line in table]
    assert sum(counts) == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert [line.split()[0] for line in table].count("freeze") == 2


def test_the_table_says_what_learns_slower():
    table, _ = table_of((("encoder/.*", "train", 0.25), (".*", "train")))
    slow = [line for line in table if line.endswith("parameters at 0.25 of the learning rate")]
    assert [line.split()[1] for line in slow] == ["encoder/blocks/0", "encoder/norm"]
    assert len(table) == len(slow) + 3


BLOCKS = {
    "encoder": {"blocks": {"bias": jnp.ones((3, 2))}, "norm": jnp.ones(2)},
    "head": jnp.ones((2, 2)),
}


def test_learning_rates_are_a_rules_own_and_decay_with_depth():
    rules = (("encoder/.*", "train", 0.5, 0.1), (".*", "train"))
    rates = stages.learning_rates(BLOCKS, rules, "stage2")
    assert rates["encoder"]["blocks"]["bias"] == pytest.approx((0.005, 0.05, 0.5))
    assert (rates["encoder"]["norm"], rates["head"]) == (0.5, 1.0)
    plain = stages.learning_rates(BLOCKS, ((".*", "train"),), "stage2")
    assert {*jax.tree.leaves(plain)} == {1.0}


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

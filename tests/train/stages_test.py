import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from tests.conftest import small_config
from wsign_jax.errors import WSignError
from wsign_jax.model import whisper_sign
from wsign_jax.model.attention import FULL_ATTENTION
from wsign_jax.train import stages

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
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(stages.stop_frozen(params, labels)))

    grads = jax.grad(total)(PARAMS)
    np.testing.assert_array_equal(grads["encoder"]["kernel"], 0.0)
    np.testing.assert_array_equal(grads["encoder"]["bias"], 1.0)
    np.testing.assert_array_equal(grads["head"]["bias"], 1.0)


def settings(lr=0.1, decay=0.5):
    return stages.StepSettings(*map(np.float32, (lr, decay, 1)), np.int32(1), np.int32(0))


@pytest.mark.usefixtures("standard_promotion")
def test_frozen_parameters_have_no_state_and_do_not_count_in_the_clipped_norm():
    labels = {"encoder": {"kernel": "freeze", "bias": "freeze"}, "head": {"bias": "train"}}
    tx = stages.make_optimizer(labels, settings(), grad_clip=1.0)
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
def test_weight_decay_is_for_matrices():
    labels = jax.tree.map(lambda _: "train", PARAMS)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    tx = stages.make_optimizer(labels, settings(lr=0.1, decay=0.5), grad_clip=1.0)
    updates, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["encoder"]["kernel"], -0.05)
    np.testing.assert_array_equal(updates["encoder"]["bias"], 0.0)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rates = [stages.learning_rate(1.0, step, 1000, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 101) and rates[99] == pytest.approx(100 / 101)
    assert max(rates) == rates[100] == 1.0
    assert rates[550] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-5
    assert np.all(np.diff(rates[100:]) < 0)


def test_a_short_stage_gets_past_its_warm_up():
    rates = [stages.learning_rate(1.0, step, 10, 500) for step in range(10)]
    assert rates[2] == 1.0 and rates[-1] < 0.2


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
    "encoder": {"blocks": {n: {"bias": jnp.ones(2)} for n in range(3)}, "norm": jnp.ones(2)},
    "head": jnp.ones((2, 2)),
}


def test_learning_rates_are_a_rules_own_and_decay_with_depth():
    rules = (("encoder/.*", "train", 0.5, 0.1), (".*", "train"))
    rates = stages.learning_rates(BLOCKS, rules, "stage2")
    blocks = [block["bias"] for block in rates["encoder"]["blocks"].values()]
    assert blocks == pytest.approx([0.005, 0.05, 0.5])
    assert (rates["encoder"]["norm"], rates["head"]) == (0.5, 1.0)
    plain = stages.learning_rates(BLOCKS, ((".*", "train"),), "stage2")
    assert {*jax.tree.leaves(plain)} == {1.0}


@pytest.mark.usefixtures("standard_promotion")
def test_a_share_of_the_learning_rate_is_that_share_of_the_whole_update():
    rules = (("encoder/.*", "train", 0.5, 0.1), (".*", "train"))
    labels = stages.label_parameters(BLOCKS, rules, "stage2")
    rates = stages.learning_rates(BLOCKS, rules, "stage2")
    grads = jax.tree.map(lambda p: p * 0.3, BLOCKS)
    plain = stages.make_optimizer(labels, settings(), 1.0)
    scaled = stages.make_optimizer(labels, settings(), 1.0, rates)
    before, after = plain.init(BLOCKS), scaled.init(BLOCKS)
    assert jax.tree.structure(before) == jax.tree.structure(after), "checkpoints would not fit"
    full, before = plain.update(grads, before, BLOCKS)
    shared, after = scaled.update(grads, after, BLOCKS)
    jax.tree.map(
        lambda f, s, rate: np.testing.assert_allclose(s, f * rate, rtol=1e-6), full, shared, rates
    )
    jax.tree.map(np.testing.assert_array_equal, before, after)

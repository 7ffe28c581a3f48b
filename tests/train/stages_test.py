import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from tests.conftest import small_config
from wsign_jax.common.errors import WSignError
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
        ((("(", "train"),), "'\\(' is not a regular expression"),
        ((("encodr/.*", "train"), (".*", "train")), "'encodr/.*' matches no parameter"),
        (((".*", "freeze"),), "nothing is left to train"),
    ],
)
def test_bad_rules_are_named(rules, message):
    with pytest.raises(WSignError, match=message):
        stages.label_parameters(PARAMS, rules, "stage1")


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_the_default_rules_cover_the_model_as_the_design_says(stage):
    _, shapes = whisper_sign.build_network(small_config().model, 7)
    labels = stages.label_parameters(shapes, base.get_config()[stage].rules, stage)
    for path, label in whisper_sign.parameter_paths(labels).items():
        warm_up = path.startswith(("frontend/", "ctc_head/"))
        assert label == ("train" if warm_up or stage != "stage1" else "freeze"), path


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
    _, shapes = whisper_sign.build_network(small_config().model, 7)
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

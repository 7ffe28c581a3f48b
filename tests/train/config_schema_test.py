import ast
import importlib
import pathlib

import pytest

import wsign_jax
from configs import base
from wsign_jax.common.errors import WSignError
from wsign_jax.train import config_schema

CONFIGS = sorted(
    path.stem for path in pathlib.Path(base.__file__).parent.glob("*.py") if path.stem != "base"
)


def leaves(config, prefix=""):
    """Dotted names of all fields that hold a value."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def attributes_read():
    """Every `x.name` that is read anywhere in the package, but for the checks of ranges."""
    names = set()
    for path in pathlib.Path(wsign_jax.__file__).parent.rglob("*.py"):
        if path.name == "config_schema.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
    return names


def test_every_field_is_read_somewhere():
    config = base.get_config()
    read = attributes_read()
    # The built-in signing's settings are handed over as a whole, to a dataclass with these fields.
    config.data.synthetic = {}
    unread = [name for name in leaves(config) if name.rsplit(".", 1)[-1] not in read]
    assert not unread


def test_every_field_with_a_range_is_checked():
    config = base.get_config()
    free = {"init_from", "data.dir", "model.wrist_place", "training.remat", "stages"}
    checked = set(config_schema._CHECKS) | free
    for name in leaves(config):
        stage, _, field = name.partition(".")
        if stage in config.stages:
            assert field in {*config_schema._STAGE_CHECKS, "rules"}, name
        elif not name.startswith("data.synthetic."):
            assert name in checked, name


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_valid_and_says_how_to_run_it(name):
    module = importlib.import_module(f"configs.{name}")
    config_schema.check_config(module.get_config())
    assert f"python -m wsign_jax.main --config=configs/{name}.py" in module.__doc__
    assert set(leaves(module.get_config())) == set(leaves(base.get_config()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.max_buckets", -1, "config.data.max_buckets is -1; it must be a whole number from 0"),
        ("data.on_bad", "drop", "config.data.on_bad is 'drop'; it must be one of error, skip"),
        ("model.size", "huge", "must be one of tiny, small, base, large"),
        ("model.frontend.dropout", 1.0, "must be at least 0 and below 1"),
        ("model.frontend.look_ahead", 7, "must be below conv_kernel, which is 7"),
        ("stage2.alpha", 1.5, "config.stage2.alpha is 1.5; it must be from 0 to 1"),
        ("stage3.chunks", (), "config.stage3.chunks is .*; it must be a tuple of whole numbers"),
        ("stage1.lr", float("nan"), "config.stage1.lr is nan; it must be from 1e-12"),
        ("stage2.rules", ((1, "train"),), r"config.stage2.rules is .*; it must be a tuple of"),
        ("stage2.rules", ((".*", "train", 0.0),), r"share of the learning rate, over 0"),
        ("stage2.rules", ((".*", "train", 1, 1.5),), r"layer-wise decay, over 0 and at most 1"),
        ("stage2.rules", ((".*", "train", 1, 1, 1),), r"config.stage2.rules is .*"),
        ("stage2.rules", ((".*", "freeze", 0.5),), r"config.stage2.rules is .*"),
        ("init_layers", "last", "config.init_layers is 'last'; it must be one of first, spread"),
        ("data.aspect", float("inf"), "config.data.aspect is inf; it must be 0, or width / h"),
        ("data.aspect", 0.01, "aspect is 0.01; it must be 0, or width / height from 0.1 to 10"),
        ("training.precision", "float8", "one of auto, float32, bfloat16, float16"),
        ("training.loss_scale", 0.5, "config.training.loss_scale is 0.5; it must be from 1 to"),
        (
            "training.accumulate",
            0,
            "config.training.accumulate is 0; it must be a whole number from 1",
        ),
        ("stages", (), r"config.stages is \(\); it must be a tuple of at least one stage's name"),
        ("stages", (["stage1"],), r"config.stages is \(\['stage1'\],\); it must be a tuple"),
        ("stage2.lr", None, "config.stage2.lr is None; it must be from 1e-12 to 1000.0"),
        ("stage2.chunks", None, "config.stage2.chunks is None; it must be a tuple of whole"),
        ("stage2.rules", None, "config.stage2.rules is None; it must be a tuple of"),
        (
            "training.seed",
            None,
            "config.training.seed is None; it must be a whole number from 0 to",
        ),
        ("data.mine", {1, 2}, r"config.data.mine is \{1, 2\}; it must be of numbers, texts"),
        ("data.mine", (1, (b"a",)), r"config.data.mine is .*; it must be of numbers, texts"),
        ("stages", ("stage4",), "names 'stage4', but there is no config.stage4.epochs"),
        ("stages", ("model", "stage1"), r"there is no config.model.epochs"),
        ("eval.split", "dev", "one of train, val, test"),
    ],
)
def test_a_value_out_of_range_is_named(field, value, message):
    config = base.get_config()
    owner = config
    *path, name = field.split(".")
    for part in path:
        owner = owner[part]
    owner[name] = value
    with pytest.raises(WSignError, match=message):
        config_schema.check_config(config)


@pytest.mark.parametrize("field", ["model.size", "model", "stages", "eval.lm"])
def test_a_missing_field_is_named(field):
    config = base.get_config()
    owner, _, name = field.rpartition(".")
    del (config[owner] if owner else config)[name]
    with pytest.raises(WSignError, match=rf"config.{field}.* is missing; it must be "):
        config_schema.check_config(config)


def test_fields_that_do_not_go_together_are_named():
    config = base.get_config()
    config.restart, config.mode = True, "evaluate"
    with pytest.raises(WSignError, match=r"config.restart starts a training over"):
        config_schema.check_config(config)
    config = base.get_config()
    config.eval.average = 3
    with pytest.raises(
        WSignError, match=r"config.eval.average is 3, but only config.checkpoint.keep=2"
    ):
        config_schema.check_config(config)


def test_differences_name_what_decides_the_numbers_and_let_the_rest_go():
    before, after = base.get_config(), base.get_config()
    after.model.size = "tiny"
    before.stages = after.stages = ("stage1", "stage3")
    after.stage2.lr = 1.0  # a stage that is not run
    after.stage3.chunks = (0,)
    after.data.dir = "elsewhere"
    after.checkpoint.every_minutes = 1.0
    after.eval.split = "val"
    after.training.accumulate, after.training.remat = 2, True
    found = config_schema.config_differences(
        config_schema.config_as_json(before), config_schema.config_as_json(after)
    )
    assert found == [
        "config.model.size: was 'base', is 'tiny'",
        "config.stage3.chunks: was [0, 1, 2, 4, 8, 16, 32], is [0]",
    ]

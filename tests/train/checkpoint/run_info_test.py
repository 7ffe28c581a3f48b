import json
import random

import pytest
from ml_collections import ConfigDict

from tests.conftest import small_config
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.train import config_schema
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.run import make_network

RUN_INFO = RunInfo(
    stage=0,
    next_batch=5,
    val_wer=None,
    best_wer=None,
    data="abc",
    config=config_schema.config_as_json(small_config()) | {"stages": ["stage1", "stage2"]},
    vocabulary=Vocabulary(("<blank>", "A", "B")),
    iterator={"next_index": 5},
)
DELETED = object()
INFO = RUN_INFO.to_json()
OTHERS = (
    *(DELETED, None, True, -1, 0, 1, 7.5, float("nan"), float("inf"), 1e300, 10**30),
    *("", "x", "\ud800", "\x1b[0m\n", [], [1], [[]], ["x", "x"], {}, {"x": {}}),
)


def with_field(content, path, value):
    """A copy of JSON with one field changed or deleted."""
    copy = json.loads(json.dumps(content))
    *parents, name = path
    inner = copy
    for parent in parents:
        inner = inner[parent]
    if value is DELETED:
        del inner[name]
    else:
        inner[name] = value
    return copy


def paths_of(content, path=()):
    """The paths of all that JSON holds, inner and outer."""
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from paths_of(value, (*path, name))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stage", 99, "'stage' is 99; it must be the number of a stage"),
        ("next_batch", 1.5, "'next_batch' is 1.5; it must be a whole number"),
        ("val_wer", "0.5", "'val_wer' is '0.5'; it must be null or a number"),
        ("best_wer", float("nan"), "'best_wer' is nan"),
        ("vocabulary", ["A"], 'id 0 belongs to "<blank>"'),
        ("vocabulary", ["<blank>", "A", "A"], "a gloss is in 'vocabulary' twice"),
        ("vocabulary", ["<blank>", 7], "'vocabulary' is .*; it must be a list"),
        ("iterator", None, "'iterator' is None; it must be an object"),
        ("tea", 1, "'tea' is unknown"),
        ("config", [], r"'config' is \[\]; it must be an object"),
        ("config.stages", "stage2", "config.stages is 'stage2'; it must be a tuple"),
        ("config.stage2.alpha", "1", "config.stage2.alpha is '1'; it must be from 0 to 1"),
        ("config.eval", DELETED, "config.eval.decoder is missing; it must be one of greedy"),
        ("config.model", DELETED, r"config\.model\.\w+ is missing"),
        ("config.model.size", "vast", "config.model.size is 'vast'; it must be one of"),
        ("config.model.positions", "zzz", "config.model.positions is 'zzz'"),
        ("config.model.frontend.patch_size", -4, "patch_size is -4; it must be a whole number"),
        ("config.model.frontend.look_ahead", 7, "look_ahead is 7; it must be below conv_kernel"),
        ("config.data.aspect", "1", "config.data.aspect is '1'; it must be 0, or"),
        ("config.eval.chunk", None, "config.eval.chunk is None"),
    ],
)
def test_a_wrong_field_of_the_metadata_is_named(path, value, message):
    with pytest.raises(WSignError, match=message) as error:
        RunInfo.from_json(with_field(INFO, path.split("."), value))
    assert "\n" not in str(error.value)


def test_a_config_without_what_only_training_reads_is_read():
    content = with_field(INFO, ["config", "training", "ema"], DELETED)
    assert RunInfo.from_json(content).stage == 0


def test_whatever_is_in_the_metadata_is_read_or_refused():
    """200 changes: a field gone, or of another kind. A model that is accepted can be made."""
    rng, accepted = random.Random(0), 0
    for _ in range(200):
        path = rng.choice(list(paths_of(INFO)))
        content = with_field(INFO, path, rng.choice(OTHERS))
        try:
            found = RunInfo.from_json(content)
            accepted += 1
            if path[:2] in (("config", "model"), ("config", "training")):
                make_network(ConfigDict(found.config), len(found.vocabulary))
        except WSignError as error:
            assert "\n" not in str(error)
    assert 0 < accepted < 200

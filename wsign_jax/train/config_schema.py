"""Checks a config before anything is read; an error is one line: the field and what it may be."""

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from wsign_jax.common.errors import WSignError
from wsign_jax.data.layout import SPLITS
from wsign_jax.data.vocab import LARGEST_ID
from wsign_jax.decode.decoders import DECODERS, LARGEST_BEAM
from wsign_jax.keypoints.joints import ASPECTS
from wsign_jax.model.positions import POSITIONS
from wsign_jax.model.whisper_sign import SIZES
from wsign_jax.model.whisper_weights import CHOICES
from wsign_jax.train.precision import PRECISIONS

_Check = tuple[
    Callable[[Any], bool], str
]  # whether a value may stand there; the allowed ones in words


def _one_of(*names: str | bool) -> _Check:
    return lambda value: value in names, "one of " + ", ".join(map(str, names))


def _from_to(low: float, high: float = 2**31 - 1) -> _Check:
    return lambda value: low <= value <= high, f"from {low} to {high}"


_ASPECT: _Check = (
    lambda value: value == 0 or ASPECTS[0] <= value <= ASPECTS[1],
    f"0, or width / height from {ASPECTS[0]:g} to {ASPECTS[1]:g}",
)


def _whole(low: int, high: int = 2**31 - 1) -> _Check:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return holds, f"a whole number from {low} to {high}"


_POSITIVE: _Check = (lambda value: 0 < value < float("inf"), "over 0")
_SHARE: _Check = (lambda value: 0 <= value <= 1, "from 0 to 1")
_BELOW_ONE: _Check = (lambda value: 0 <= value < 1, "at least 0 and below 1")
_SIZES_IN_PATCHES: _Check = (
    lambda value: len(value) > 0 and all(isinstance(v, int) and 0 <= v < 2**30 for v in value),
    "a tuple of whole numbers, at least 0",
)


def _rules(*actions: str) -> _Check:
    """Checks the form of rules; `train/param_rules.py` checks whether they fit the parameters."""

    def holds(value: Any) -> bool:
        return all(
            isinstance(rule, tuple | list)
            and len(rule) == 2
            and all(isinstance(part, str) for part in rule)
            for rule in value
        )

    return holds, f"a tuple of (path pattern, {' | '.join(map(repr, actions))})"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_stage_rule(rule: Any) -> bool:
    if not isinstance(rule, tuple | list) or not 2 <= len(rule) <= 4:
        return False
    pattern, action, share, decay = (*rule, 1, 1)[:4]
    return (
        isinstance(pattern, str)
        and isinstance(action, str)
        and (action == "train" or len(rule) == 2)
        and all(isinstance(number, int | float) for number in (share, decay))
        and 0 < share <= 1000
        and 0 < decay <= 1
    )


_STAGE_RULES: _Check = (
    lambda value: all(map(_is_stage_rule, value)),
    "a tuple of (path pattern, 'freeze') and (path pattern, 'train'[, share of the learning rate, over 0"
    "[, layer-wise decay, over 0 and at most 1]])",
)
_STAGES: _Check = (
    lambda value: isinstance(value, tuple | list) and len(value) > 0 and all(map(_is_text, value)),
    "a tuple of at least one stage's name, for example ('stage1',)",
)
_TEXT: _Check = (_is_text, "a text")
_YES_OR_NO: _Check = _one_of(True, False)

_CHECKS: dict[str, _Check] = {
    "mode": _one_of("train", "evaluate"),
    "init_from": _TEXT,
    "init_layers": _one_of(*CHOICES),
    "restart": _YES_OR_NO,
    "data.on_bad": _one_of("error", "skip"),
    "data.dir": _TEXT,
    "data.replay": _TEXT,
    "model.wrist_place": _YES_OR_NO,
    "data.aspect": _ASPECT,
    "data.max_seq_length": _whole(1),
    "data.max_buckets": _whole(0),
    "data.threads": _whole(0),
    "data.augment.speed": _BELOW_ONE,
    "data.augment.jitter": _from_to(0, 7),  # beyond that, time would run backwards
    "data.augment.cut": _from_to(0, 1000),
    "data.augment.skip_frames": _from_to(0, 60),
    "data.augment.rotation": _from_to(0, 180),
    "data.augment.tilt": _from_to(0, 90),
    "data.augment.scale": _from_to(0, 10),
    "data.augment.shift": _from_to(0, 10),
    "data.augment.shear": _BELOW_ONE,
    "data.augment.bend": _from_to(0, 180),
    "data.augment.bones": _from_to(0, 10),
    "data.augment.mirror": _SHARE,
    "data.augment.noise": _from_to(0, 1),
    "data.augment.joint_mask": _SHARE,
    "data.augment.temporal_mask": _SHARE,
    "data.augment.hand_mask": _SHARE,
    "data.augment.temporal_mask_frames": _whole(1),
    "model.size": _one_of(*SIZES),
    "model.vocab_size": _whole(0, LARGEST_ID + 1),
    "model.positions": _one_of("auto", *POSITIONS),
    "model.ctc_dropout": _BELOW_ONE,
    "model.frontend.patch_size": _whole(1, 1000),
    "model.frontend.conv_kernel": _whole(1, 1000),
    "model.frontend.look_ahead": _whole(0),
    "model.frontend.spatial_dropout": _BELOW_ONE,
    "model.frontend.dropout": _BELOW_ONE,
    "model.encoder.num_layers": _whole(0, 1000),
    "model.encoder.dropout": _BELOW_ONE,
    "model.decoder.num_layers": _whole(0, 1000),
    "model.decoder.dropout": _BELOW_ONE,
    "training.seed": _whole(0),
    "training.warmup_steps": _whole(0),
    "training.grad_clip": _POSITIVE,
    "training.label_smoothing": _BELOW_ONE,
    "training.decoder_mask": _SHARE,
    "training.consistency": _from_to(0, 100),
    "training.max_steps": _whole(0),
    "training.precision": _one_of(*PRECISIONS),
    "training.accumulate": _whole(1, 65_536),
    "training.loss_scale": _from_to(1, 2**24),
    "training.ema": _BELOW_ONE,
    "training.sharding": _rules("replicate", "shard"),
    "checkpoint.every_steps": _whole(1),
    "checkpoint.every_minutes": _POSITIVE,
    "checkpoint.keep": _whole(1),
    "checkpoint.mirror": _TEXT,
    "eval.split": _one_of(*SPLITS),
    "eval.decoder": _one_of(*DECODERS),
    "eval.lm": _TEXT,
    "eval.beam_size": _whole(0, LARGEST_BEAM),
    "eval.every_epochs": _whole(1),
    "eval.batch_size": _whole(1),
    "eval.average": _whole(1),
    "eval.pictures": _YES_OR_NO,
    "eval.chunk": _whole(0),
    "eval.left_context": _whole(0),
}

_STAGE_CHECKS: dict[str, _Check] = {
    "epochs": _whole(1, 100_000),
    "lr": _from_to(1e-12, 1e3),
    "weight_decay": _from_to(0, 1e3),
    "batch_size": _whole(1, 65_536),
    "alpha": _SHARE,
    "chunks": _SIZES_IN_PATCHES,
    "left_contexts": _SIZES_IN_PATCHES,
    "rules": _STAGE_RULES,
}

# These fields may change when a run goes on; all others decide its numbers. The fields that save memory
# are among them, because a run may find only at its longest batch that it needs them, and the precision,
# which is that of the device.
_FREE_TO_CHANGE = (
    "mode",
    "restart",
    "init_from",
    "init_layers",
    "data.dir",
    "data.replay",
    "data.threads",
    "data.on_bad",
    "data.synthetic",
    "training.accumulate",
    "training.precision",
    "training.remat",
    "training.sharding",
    "checkpoint",
    "eval",
)


# The fields of a trained run's config that are read when it is used.
_READ_OF_A_RUN = re.compile(
    r"model\..*|data\.(?!augment\.|replay).*|eval\.(decoder|lm|beam_size|batch_size|chunk|left_context)"
    r"|training\.(precision|sharding)|.*\.(alpha|chunks|left_contexts)"
)


def check_config(config: ConfigDict) -> None:
    """Raises a `WSignError` that names the first field out of its range."""
    fields = config.to_dict()
    _check_field(fields, "stages", _STAGES)
    checks = dict(_CHECKS)
    for stage in config.stages:
        for field, rule in _STAGE_CHECKS.items():
            if not isinstance(config.get(stage), ConfigDict) or field not in config[stage]:
                raise WSignError(
                    f"config.stages names {stage!r}, but there is no config.{stage}.{field}"
                )
            checks[f"{stage}.{field}"] = rule
    for field, rule in checks.items():
        _check_field(fields, field, rule)
    for field, value in _flatten(fields).items():
        _check_storable(field, value)
    if config.restart and config.mode == "evaluate":
        raise WSignError(
            "config.restart starts a training over; it does not go with mode 'evaluate'"
        )
    if config.mode == "train" and config.eval.average > config.checkpoint.keep:
        raise WSignError(
            f"config.eval.average is {config.eval.average}, but only config.checkpoint.keep="
            f"{config.checkpoint.keep} of the last checkpoints are kept; raise that"
        )
    if config.data.replay and config.eval.average > 1:
        # The last checkpoint may be one that was refused because others were recognized worse.
        raise WSignError(
            "config.eval.average: an adaptation (config.data.replay) reports its best weights alone; "
            "give 1"
        )
    if config.data.replay and len(config.stages) > 1:
        raise WSignError(
            f"config.stages is {tuple(config.stages)}; an adaptation (config.data.replay) has one stage"
        )
    _check_frontend(config.model.frontend)


def check_saved_config(config: Mapping[str, Any]) -> None:
    """Checks the config in a checkpoint, which another version, or anybody, may have written.

    A field that an older version did not have may be missing, unless using the run reads it.

    Raises:
        WSignError: names the first field that is missing, or that `check_config` would refuse.
    """
    _check_field(config, "stages", _STAGES)
    checks = dict(_CHECKS)
    for stage in config["stages"]:
        checks |= {f"{stage}.{field}": rule for field, rule in _STAGE_CHECKS.items()}
    for field, rule in checks.items():
        _check_field(config, field, rule, required=bool(_READ_OF_A_RUN.fullmatch(field)))
    _check_frontend(config["model"]["frontend"])


def _check_frontend(frontend: Mapping[str, Any]) -> None:
    if frontend["look_ahead"] >= frontend["conv_kernel"]:
        raise WSignError(
            f"config.model.frontend.look_ahead is {frontend['look_ahead']}; it must be below "
            f"conv_kernel, which is {frontend['conv_kernel']}"
        )


def _check_field(
    config: Mapping[str, Any], field: str, rule: _Check, required: bool = True
) -> None:
    holds, allowed = rule
    value: Any = config
    for name in field.split("."):
        if not isinstance(value, Mapping) or name not in value:
            if required:
                raise WSignError(f"config.{field} is missing; it must be {allowed}")
            return
        value = value[name]
    try:
        # Comparisons with NaN are false, so a NaN fails every check that it meets.
        held = holds(value)
    except TypeError:  # for example a text where a number belongs
        held = False
    if not held:
        raise WSignError(f"config.{field} is {reprlib.repr(value)}; it must be {allowed}")


def _check_storable(field: str, value: Any) -> None:
    """Checks that JSON can hold a value, because a checkpoint stores the config as JSON."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise WSignError(
            f"config.{field} is {reprlib.repr(value)}; it must be of numbers, texts, True, False, None "
            "and tuples"
        ) from None


def config_as_json(config: ConfigDict) -> dict[str, Any]:
    """The config as it comes back from a JSON file (tuples as lists)."""
    return json.loads(json.dumps(config.to_dict()))


def config_differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The fields that must match to go on with a run, but do not, as 'config.a.b: was 1, is 2'."""
    before, after = flat_fields(saved), flat_fields(now)
    return [
        f"config.{field}: was {before.get(field)!r}, is {after.get(field)!r}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
        and not any(field == free or field.startswith(free + ".") for free in _FREE_TO_CHANGE)
    ]


def flat_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A config's fields by their dotted names, without the stages that it does not run."""
    used = {
        name: block
        for name, block in config.items()
        if not (isinstance(block, dict) and "rules" in block) or name in config["stages"]
    }
    return _flatten(used)


def _flatten(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in block.items():
        nested = isinstance(value, dict)
        fields |= _flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return fields

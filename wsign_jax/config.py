"""Checks of a config before anything is read: one line that names the field and what it may be."""

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from wsign_jax.data.layout import SPLITS
from wsign_jax.errors import WSignError
from wsign_jax.model.whisper_sign import POSITIONS, SIZES

PRECISIONS = ("float32", "bfloat16", "float16")
DECODERS = ("greedy",)

_Check = tuple[Callable[[Any], bool], str]


def _one_of(*names: str) -> _Check:
    return lambda value: value in names, "one of " + ", ".join(names)


def _at_least(bound: float) -> _Check:
    return lambda value: value >= bound, f"at least {bound}"


_POSITIVE: _Check = (lambda value: 0 < value < float("inf"), "over 0")
_SHARE: _Check = (lambda value: 0 <= value <= 1, "from 0 to 1")
_BELOW_ONE: _Check = (lambda value: 0 <= value < 1, "at least 0 and below 1")
_SIZES_IN_PATCHES: _Check = (
    lambda value: len(value) > 0 and all(isinstance(v, int) and v >= 0 for v in value),
    "a tuple of whole numbers, at least 0",
)

_CHECKS: dict[str, _Check] = {
    "mode": _one_of("train", "evaluate"),
    "data.on_bad": _one_of("error", "skip"),
    "data.aspect": _at_least(0),
    "data.max_seq_length": _at_least(1),
    "data.max_buckets": _at_least(1),
    "data.threads": _at_least(0),
    "data.augment.speed": _BELOW_ONE,
    "data.augment.jitter": _at_least(0),
    "data.augment.rotation": _at_least(0),
    "data.augment.tilt": _at_least(0),
    "data.augment.scale": _at_least(0),
    "data.augment.shift": _at_least(0),
    "data.augment.mirror": _SHARE,
    "data.augment.noise": _at_least(0),
    "data.augment.joint_mask": _SHARE,
    "data.augment.temporal_mask": _SHARE,
    "data.augment.temporal_mask_frames": _at_least(1),
    "model.size": _one_of(*SIZES),
    "model.vocab_size": _at_least(0),
    "model.positions": _one_of(*POSITIONS),
    "model.ctc_dropout": _BELOW_ONE,
    "model.frontend.patch_size": _at_least(1),
    "model.frontend.conv_kernel": _at_least(1),
    "model.frontend.look_ahead": _at_least(0),
    "model.frontend.spatial_dropout": _BELOW_ONE,
    "model.frontend.dropout": _BELOW_ONE,
    "model.encoder.num_layers": _at_least(0),
    "model.encoder.dropout": _BELOW_ONE,
    "model.decoder.num_layers": _at_least(0),
    "model.decoder.dropout": _BELOW_ONE,
    "training.seed": _at_least(0),
    "training.warmup_steps": _at_least(0),
    "training.grad_clip": _POSITIVE,
    "training.label_smoothing": _BELOW_ONE,
    "training.max_steps": _at_least(0),
    "training.precision": _one_of(*PRECISIONS),
    "training.ema": _BELOW_ONE,
    "checkpoint.every_steps": _at_least(1),
    "checkpoint.every_minutes": _POSITIVE,
    "checkpoint.keep": _at_least(1),
    "eval.split": _one_of(*SPLITS),
    "eval.decoder": _one_of(*DECODERS),
    "eval.every_epochs": _at_least(1),
    "eval.batch_size": _at_least(1),
    "eval.chunk": _at_least(0),
    "eval.left_context": _at_least(0),
}

_STAGE_CHECKS: dict[str, _Check] = {
    "epochs": _at_least(1),
    "lr": _POSITIVE,
    "weight_decay": _at_least(0),
    "batch_size": _at_least(1),
    "alpha": _SHARE,
    "chunks": _SIZES_IN_PATCHES,
    "left_contexts": _SIZES_IN_PATCHES,
}

# To go on with a run these may differ from what it began with; all else decides its numbers.
_FREE_TO_CHANGE = (
    "mode",
    "init_from",
    "data.dir",
    "data.threads",
    "data.on_bad",
    "data.synthetic",
    "checkpoint",
    "eval",
)


def check(config: ConfigDict) -> None:
    """Raises a `WSignError` that names the first field out of its range."""
    if not config.stages:
        raise WSignError("config.stages is empty; name at least one, such as ('stage1',)")
    checks = dict(_CHECKS)
    for stage in config.stages:
        for field, rule in _STAGE_CHECKS.items():
            if not isinstance(config.get(stage), ConfigDict) or field not in config[stage]:
                raise WSignError(
                    f"config.stages names {stage!r}, but there is no config.{stage}.{field}"
                )
            checks[f"{stage}.{field}"] = rule
    for field, (holds, allowed) in checks.items():
        value = operator.attrgetter(field)(config)
        # Comparisons with NaN are false, so a NaN fails every check that it meets.
        if not holds(value):
            raise WSignError(f"config.{field} is {value!r}; it must be {allowed}")
    if config.model.frontend.look_ahead >= config.model.frontend.conv_kernel:
        raise WSignError(
            f"config.model.frontend.look_ahead is {config.model.frontend.look_ahead}; it must be "
            f"below conv_kernel, which is {config.model.frontend.conv_kernel}"
        )


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The config as it comes back from a JSON file (tuples as lists)."""
    return json.loads(json.dumps(config.to_dict()))


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Fields that must match to go on with a run and do not, as 'config.a.b: was 1, is 2'."""
    before, after = _flatten(saved), _flatten(now)
    return [
        f"config.{field}: was {before.get(field)!r}, is {after.get(field)!r}"
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
        and not any(field == free or field.startswith(free + ".") for free in _FREE_TO_CHANGE)
    ]


def _flatten(value: dict[str, Any], prefix: Sequence[str] = ()) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        path = (*prefix, name)
        if isinstance(item, dict):
            flat |= _flatten(item, path)
        else:
            flat[".".join(path)] = item
    return flat

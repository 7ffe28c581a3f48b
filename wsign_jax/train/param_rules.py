"""Rules of a config that say what happens to each parameter, by its path.

Layers that lie stacked in one parameter have a path each (`whisper_sign.layer_paths`). Whatever is said
of such a parameter is one value if all layers have the same, otherwise a tuple of each layer's value.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax

from wsign_jax.common.errors import WSignError
from wsign_jax.model.whisper_sign import Params, layer_paths, parameter_paths

T = TypeVar("T")


def match_rules(
    params: Params, rules: Sequence[Sequence[Any]], field: str
) -> dict[str, Sequence[Any]]:
    """Finds the first rule whose pattern matches the whole path of each parameter or stacked layer.

    Returns:
        Rules by path, in the order of the leaves.

    Raises:
        WSignError: a broken pattern, a rule that matches no parameter (it may be misspelled), or a
            parameter that no rule matches.
    """
    compiled = []
    for rule in rules:
        try:
            compiled.append((re.compile(rule[0]), rule))
        except re.error as error:
            raise WSignError(
                f"config.{field}: {rule[0]!r} is not a regular expression ({error})"
            ) from None
    paths = [path for leaf in parameter_paths(params).items() for path in layer_paths(*leaf)]
    matched = {}
    for path in paths:
        first = next((rule for regex, rule in compiled if regex.fullmatch(path)), None)
        if first is None:
            raise WSignError(
                f"config.{field}: no rule covers {path!r}; add one, or end with ('.*', ...)"
            )
        matched[path] = first
    for regex, _ in compiled:
        if not any(regex.fullmatch(path) for path in paths):
            raise WSignError(
                f"config.{field}: {regex.pattern!r} matches no parameter; see them with "
                "tools/describe.py"
            )
    return matched


def apply_rules(
    params: Params, rules: Sequence[Sequence[Any]], actions: tuple[str, str], field: str
) -> Params:
    """Marks every parameter, or its layers, by the action of the first rule that matches.

    A rule is (path pattern, action, ...).

    Raises:
        WSignError: an unknown action, or the rules do not fit the parameters (see `match_rules`).
    """
    for rule in rules:
        if len(rule) < 2 or rule[1] not in actions:
            allowed = " | ".join(map(repr, actions))
            raise WSignError(f"config.{field}: {tuple(rule)} is not (path pattern, {allowed})")
    marks = {path: rule[1] for path, rule in match_rules(params, rules, field).items()}
    return gather_layers(params, marks)


def gather_layers(params: Params, values: Mapping[str, T]) -> Params:
    """Arranges values by path as their parameters are: one for each, or a tuple of its layers'."""
    leaves = []
    for path, leaf in parameter_paths(params).items():
        each = tuple(values[layer] for layer in layer_paths(path, leaf))
        leaves.append(each[0] if len({*each}) == 1 else each)
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def values_by_layer(params: Params, values: Params) -> dict[str, Any]:
    """Returns the value of every parameter or stacked layer by path: the reverse of `gather_layers`."""
    found: dict[str, Any] = {}
    leaves = jax.tree.leaves(values, is_leaf=lambda value: isinstance(value, tuple))
    for (path, leaf), value in zip(parameter_paths(params).items(), leaves, strict=True):
        paths = layer_paths(path, leaf)
        each = value if isinstance(value, tuple) else (value,) * len(paths)
        found |= dict(zip(paths, each, strict=True))
    return found

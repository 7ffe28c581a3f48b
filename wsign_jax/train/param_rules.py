"""Rules of a config that say what happens to each parameter, by its path."""

import re
from collections.abc import Sequence
from typing import Any

import jax

from wsign_jax.common.errors import WSignError
from wsign_jax.model.whisper_sign import Params, parameter_paths


def match(params: Params, rules: Sequence[Sequence[Any]], field: str) -> dict[str, Sequence[Any]]:
    """Finds, for every parameter, the first rule whose pattern matches its path.

    Args:
        params: nested dict; only its structure matters.
        rules: (regular expression for the whole path, ...).
        field: the field of the config, for messages.

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
    paths = parameter_paths(params)
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


def apply(
    params: Params, rules: Sequence[Sequence[Any]], actions: tuple[str, str], field: str
) -> Params:
    """Marks every parameter by the action of the first rule that matches.

    Args:
        params: nested dict; only its structure matters.
        rules: (regular expression for the whole path, action, ...).
        actions: the allowed actions.
        field: the field of the config, for messages.

    Returns:
        The same structure with an action for every parameter.

    Raises:
        WSignError: an unknown action, or the rules do not fit the parameters (see `match`).
    """
    for rule in rules:
        if len(rule) < 2 or rule[1] not in actions:
            allowed = " | ".join(map(repr, actions))
            raise WSignError(f"config.{field}: {tuple(rule)} is not (path pattern, {allowed})")
    marks = [rule[1] for rule in match(params, rules, field).values()]
    return jax.tree.unflatten(jax.tree.structure(params), marks)

"""Rules of a config that say of every parameter, by its path, what becomes of it."""

import re
from collections.abc import Sequence

import jax

from wsign_jax.errors import WSignError
from wsign_jax.model.whisper_sign import Params, parameter_paths


def apply(
    params: Params, rules: Sequence[tuple[str, str]], actions: tuple[str, str], field: str
) -> Params:
    """Marks every parameter by the first rule whose pattern matches its path.

    Args:
        params: nested dict; only its structure matters.
        rules: (regular expression for the whole path, action).
        actions: that there are.
        field: of the config, for messages.

    Returns:
        The same structure with an action for every parameter.

    Raises:
        WSignError: an unknown action, a broken pattern, a rule that matches no parameter (it may
            be misspelt), or a parameter that no rule matches.
    """
    compiled = []
    for rule in rules:
        if len(rule) != 2 or rule[1] not in actions:
            allowed = " | ".join(map(repr, actions))
            raise WSignError(f"config.{field}: {tuple(rule)} is not (path pattern, {allowed})")
        try:
            compiled.append((re.compile(rule[0]), rule[1]))
        except re.error as error:
            raise WSignError(
                f"config.{field}: {rule[0]!r} is no regular expression ({error})"
            ) from None
    marks = {}
    paths = parameter_paths(params)
    for path in paths:
        mark = next((action for regex, action in compiled if regex.fullmatch(path)), None)
        if mark is None:
            raise WSignError(
                f"config.{field}: no rule covers {path!r}; add one, or end with ('.*', ...)"
            )
        marks[path] = mark
    for regex, _ in compiled:
        if not any(regex.fullmatch(path) for path in paths):
            raise WSignError(
                f"config.{field}: {regex.pattern!r} matches no parameter; see them with "
                "tools/describe.py"
            )
    return jax.tree.unflatten(jax.tree.structure(params), list(marks.values()))

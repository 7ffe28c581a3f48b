"""Untrained runs that stream, with every kind of positions and look-ahead."""

import functools

import numpy as np

from tests.helpers.small import small_config
from wsign_jax.evaluate import trained_run

V = 7
WINDOWS = [(1, 6), (3, 0), (8, 16)]


def run_of(positions="rotary", look_ahead=0):
    config = small_config()
    config.model.positions = positions
    config.model.encoder.num_layers = 2
    config.model.frontend.look_ahead = look_ahead
    config.stages = ("stage3",)
    config.stage3.chunks = (0, *{chunk for chunk, _ in WINDOWS})
    config.stage3.left_contexts = tuple({left for _, left in WINDOWS})
    run = trained_run.make_untrained(config, V)
    # Fresh weights' logits are near zero, all ids as good as any: make them say something.
    head = run.params["ctc_head"]
    head["kernel"] *= 5.0
    # Where no hand is in sight all else is zero: without a bias all ids would be exactly as likely, and
    # where a gloss begins a matter of taste.
    head["bias"] += np.linspace(-0.5, 0.5, V, dtype=np.float32)
    return run


MODELS = {
    "rotary": {},
    "look-ahead": {"look_ahead": 2},
    "sinusoidal": {"positions": "sinusoidal"},
}


@functools.cache
def model(name):
    return run_of(**MODELS[name])

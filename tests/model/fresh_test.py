"""Fresh parameters: which, how wide, and of what alone they depend."""

import numpy as np
import pytest

from tests.conftest import small_config
from wsign_jax.model import fresh, whisper_sign


@pytest.mark.parametrize(
    ("path", "shape", "mean", "std"),
    [
        ("encoder/blocks/0/mlp/up/kernel", (400, 500), 0.0, 400**-0.5),
        ("frontend/embed/kernel", (1176, 128), 0.0, 1176**-0.5),
        ("frontend/conv/kernel", (7, 20_000), 0.0, 7**-0.5),
        ("decoder/embed/embedding", (1000, 256), 0.0, 256**-0.5),
        ("encoder/norm/scale", (5,), 1.0, 0.0),
        ("ctc_head/bias", (5,), 0.0, 0.0),
    ],
)
def test_spread(path, shape, mean, std):
    values = fresh.draw(path, shape, seed=3)
    assert values.shape == shape and values.dtype == np.float32
    assert values.mean() == pytest.approx(mean, abs=0.01 * std)
    assert values.std() == pytest.approx(std, rel=0.01)


def test_layers_keep_the_variance_of_what_they_are_given():
    x = np.random.default_rng(0).normal(size=(200, 300))
    y = x @ fresh.draw("ctc_head/kernel", (300, 400), seed=0)
    assert y.std() == pytest.approx(1.0, rel=0.02)


def test_a_parameter_depends_on_its_seed_and_path_alone():
    _, shapes = whisper_sign.build(small_config().model, 7)
    paths = whisper_sign.parameter_paths(shapes)
    everything = whisper_sign.parameter_paths(whisper_sign.init(shapes, 1))
    some = {path: paths[path] for path in sorted(paths)[::-3]}
    for path, value in whisper_sign.init(some, 1).items():
        np.testing.assert_array_equal(value, everything[path])
    drawn = {p: np.ravel(v)[:8].tobytes() for p, v in everything.items() if np.std(v) > 0}
    assert len(set(drawn.values())) == len(drawn), "two parameters have the same numbers"
    other = whisper_sign.parameter_paths(whisper_sign.init(shapes, 2))
    assert all((np.asarray(other[path]) != everything[path]).any() for path in drawn)


def test_a_parameter_that_no_rule_covers_is_named():
    with pytest.raises(ValueError, match="decoder/gate: no rule says how to draw it; add one to"):
        fresh.draw("decoder/gate", (3,), seed=0)

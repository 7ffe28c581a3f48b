"""What normalization and every single augmentation made of a few frames in numpy, for others to match.

    python -m tests.helpers.recorded

writes `FILE` again. `features` (12, 42, 7) is the input of all. For each name in `SWITCHES`
`<name>/features` and `<name>/hidden` are what `augment` returned, `<name>/drawn/<n>` the random numbers
in the order in which they were drawn: jitter's knots where it is on; whether to mirror; roll, pitch and
yaw; scale; shift; of the stretches of frames which lose some, how many and from where; noise where it is
on; which joints are hidden. `normalized`, `normalized/no_wrist_place`, `size` and `seen` are from
`normalize`.
"""

import pathlib
from unittest import mock

import numpy as np

from configs import base
from tests.conftest import random_features
from wsign_jax.data import augment, normalize

FILE = pathlib.Path(__file__).with_name("numpy_augment_normalize.npz")
KEY = (42, 3, 7)
# Name: frames, and what is on.
SWITCHES = {
    "faster": (9, {}),
    "slower": (15, {}),
    "jitter": (12, {"jitter": 2.0}),
    "rotation": (12, {"rotation": 20.0}),
    "tilt": (12, {"tilt": 20.0}),
    "scale": (12, {"scale": 0.3}),
    "shift": (12, {"shift": 0.1}),
    "mirror": (12, {"mirror": 1.0}),
    "noise": (12, {"noise": 0.005}),
    "joint_mask": (12, {"joint_mask": 0.3}),
    "temporal_mask": (12, {"temporal_mask": 0.9}),
}


def switches(**on):
    """`data.augment` with everything off but what is named."""
    config = base.get_config().data.augment
    for name in config:
        if name != "temporal_mask_frames":
            config[name] = 0.0
    config.update(on)
    return config


class _Recorder(np.random.Generator):
    """Keeps what is drawn."""

    def __init__(self, key, drawn):
        super().__init__(np.random.PCG64(key))
        self._drawn = drawn

    def _keep(self, numbers):
        self._drawn.append(np.asarray(numbers))
        return numbers

    def uniform(self, *args, **kwargs):
        return self._keep(super().uniform(*args, **kwargs))

    def random(self, *args, **kwargs):
        return self._keep(super().random(*args, **kwargs))

    def integers(self, *args, **kwargs):
        return self._keep(super().integers(*args, **kwargs))

    def standard_normal(self, *args, **kwargs):
        return self._keep(super().standard_normal(*args, **kwargs))


def record():
    """The arrays of `FILE`, made anew."""
    features = random_features(np.random.default_rng(0), 12)
    arrays = {"features": features}
    for name, (frames, on) in SWITCHES.items():
        drawn = []
        with mock.patch.object(np.random, "default_rng", lambda key, d=drawn: _Recorder(key, d)):
            found = augment.augment(features, frames, switches(**on), KEY)
        arrays[f"{name}/features"], arrays[f"{name}/hidden"] = found
        arrays |= {f"{name}/drawn/{number}": some for number, some in enumerate(drawn)}
    arrays["normalized"], state = normalize.normalize(features)
    arrays["normalized/no_wrist_place"], _ = normalize.normalize(features, wrist_place=False)
    return arrays | {"size": np.array(state.size), "seen": np.array(state.seen)}


if __name__ == "__main__":
    np.savez_compressed(FILE, **record())

"""What normalization and every single augmentation made of a few frames in numpy, for ours to match.

Commit b869d58 wrote `FILE` with the numpy code that it had. `features` (12, 42, 7) is the input of all.
For each name in `SWITCHES` `<name>/features` and `<name>/hidden` are what `augment` returned,
`<name>/drawn/<n>` the random numbers in the order in which they were drawn: jitter's knots if it is on;
whether to mirror; roll, pitch and yaw; scale; shift; which stretches lose frames, how many and from
where; noise if it is on; which joints are hidden. `normalized`, `normalized/no_wrist_place`,
`size` and `seen` are from `normalize`.
"""

import pathlib

from configs import base

FILE = pathlib.Path(__file__).with_name("numpy_augment_normalize.npz")
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

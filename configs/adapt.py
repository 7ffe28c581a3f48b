"""Adaptation of a trained run to one person, from some twenty recordings.

python -m wsign_jax.main --config=configs/adapt.py --config.init_from=RUN --config.data.dir=DIR
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.data.replay = "auto"  # the data that RUN was trained on
    config.data.max_buckets = 2
    augment = config.data.augment
    augment.speed = 0.15
    augment.rotation = 10.0
    augment.tilt = 10.0
    augment.scale = 0.1
    augment.shift = 0.05
    augment.noise = 0.0
    augment.joint_mask = 0.0
    augment.temporal_mask = 0.0

    config.stages = ("adapt",)
    config.adapt = ConfigDict(
        {
            "epochs": 60,
            "lr": 5e-4,
            "weight_decay": 1e-4,
            "batch_size": 8,
            # Taken of RUN: CTC's share, and the attention windows.
            "alpha": 0.3,
            "chunks": (0,),
            "left_contexts": (0,),
            "rules": (
                ("(ctc_head|decoder)/.*", "train"),
                ("encoder/blocks/.*", "train", 1.0, 0.1),
                (".*", "freeze"),
            ),
        }
    )
    config.training.warmup_steps = 20
    config.eval.every_epochs = 10
    return config

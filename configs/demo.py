"""Three stages on built-in signing: no data needed, everything exercised, something learned.

python -m wsign_jax.main --config=configs/demo.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """The config."""
    config = base.get_config()
    config.model.size = "tiny"
    config.data.dir = ""
    config.data.max_buckets = 3
    augment = config.data.augment
    augment.speed = 0.15
    augment.rotation = 10.0
    augment.tilt = 10.0
    augment.scale = 0.15
    augment.shift = 0.05
    augment.mirror = 0.25
    augment.noise = 0.0
    augment.joint_mask = 0.0
    augment.temporal_mask = 0.0
    config.stage1.epochs = 2
    config.stage2.epochs = 35
    config.stage2.lr = 1e-3
    config.stage3.epochs = 5
    config.stage3.lr = 3e-4
    for stage in (config.stage1, config.stage2, config.stage3):
        stage.batch_size = 16
    config.training.warmup_steps = 200
    config.eval.every_epochs = 5
    return config

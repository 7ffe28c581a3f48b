"""A config so small that a step compiles in seconds: one stage, one encoder layer."""

from ml_collections import ConfigDict

from configs import base


def small_config() -> ConfigDict:
    """The config."""
    config = base.get_config()
    config.model.size = "tiny"
    config.model.encoder.num_layers = 1
    config.data.max_buckets = 2
    config.stages = ("stage2",)
    config.stage2.epochs = 2
    config.stage2.lr = 1e-3
    config.stage2.batch_size = 4
    config.eval.batch_size = 4
    return config


get_config = small_config  # the name that --config=tests/helpers/small.py reads

"""Two stages of two epochs of built-in signing: 32 steps of a model that compiles in seconds."""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """The config."""
    config = demo.get_config()
    config.model.encoder.num_layers = 1
    config.data.max_buckets = 1
    config.data.synthetic.update({"glosses": 5, "train": 64, "val": 8, "test": 8})
    config.stages = ("stage1", "stage2")
    for stage in (config.stage1, config.stage2):
        stage.epochs, stage.batch_size = 2, 8
    config.eval.every_epochs = 1
    config.eval.batch_size = 8
    config.checkpoint.every_steps = 3
    return config

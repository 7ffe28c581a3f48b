"""Stages 1 and 2 on a small data set, from two encoder layers and one decoder layer of Whisper.

    python -m wsign_jax.main --config=configs/asl_whisper.py --config.init_from=whisper:DIR

Short enough for a CPU. Without `init_from` it starts from fresh weights; configs/README.md compares the
two. It is far from done when it ends: a tiny model (asl.py) gets much further in the same time.
"""

from ml_collections import ConfigDict

from configs import asl


def get_config() -> ConfigDict:
    """Returns the config."""
    config = asl.get_config()
    config.model.size = "base"
    config.model.positions = "sinusoidal"  # also from fresh weights
    config.model.encoder.num_layers = 2
    config.model.decoder.num_layers = 1
    config.model.frontend.patch_size = 8  # half the time of an epoch
    config.data.max_buckets = 3  # compiling a shape takes as long as dozens of steps
    config.stages = ("stage1", "stage2")
    config.stage1.epochs = 2
    config.stage2.epochs = 6
    # Better than 1e-3 on validation after two epochs, from either start.
    config.stage2.lr = 3e-4
    config.stage1.batch_size = config.stage2.batch_size = 8
    config.training.warmup_steps = 100
    config.eval.every_epochs = 2
    return config

"""Adaptation of a trained run to one person, by some twenty recordings of theirs.

    python -m wsign_jax.main --config=configs/adapt.py --config.init_from=RUN --config.data.dir=DIR

DIR is a data set of that person. Its ids may differ from RUN's, but RUN must know its glosses. Model,
vocabulary, longest sequence, CTC's share and training's attention windows are RUN's. CTC head, decoder
and encoder train, each encoder block with a tenth of the learning rate of the one above; the frontend is
frozen. Each epoch has all sentences of the person and as many of those that RUN was trained on, drawn
anew. Training ends early if the validation WER of RUN's data rises by more than 0.01. RUN's own weights
may turn out the best.

Measured on the demo's run with a built-in signer whose habits are 2.5 times as strong as usual, 20
sentences: 2 min 19 s on two CPU cores with all compiling. Test WER of that signer (40 sentences) fell
from 0.278 to 0.157, by 44 %, with the best weights, after 100 of 300 steps; that of the demo's data was
0.024 before and after. One run.
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

    config.stages = ("stage2",)  # with RUN's share of CTC and its attention windows
    stage = config.stage2
    stage.epochs = 60
    stage.lr = 5e-4
    stage.batch_size = 8
    stage.rules = (
        ("(ctc_head|decoder)/.*", "train"),
        ("encoder/blocks/.*", "train", 1.0, 0.1),
        (".*", "freeze"),
    )
    config.training.warmup_steps = 20
    config.eval.every_epochs = 10
    return config

"""Kaggle's ASL Signs at small size, three stages, for one GPU or TPU.

    pip install -e ".[parquet]"
    python tools/prepare_corpus.py asl_signs --root=asl-signs --on_bad=skip --out=data/processed
    python -m wsign_jax.main --config=configs/asl_signs.py

94,477 clips of 250 isolated signs by 21 participants, of whom some are held out for validation and some
for testing, so the report is of people whom training never saw. For single signs WER is 1 - accuracy,
unless a clip gets two glosses or none. The run goes to `runs/asl_signs`.

Not measured: neither the corpus nor an accelerator was at hand, so no score was measured here, and
neither time nor WER is known. Sizes and learning rates lie between those of asl.py, which was measured,
and of base.py.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.model.size = "small"
    config.data.on_bad = "skip"  # some clips have only a few frames
    config.data.threads = 8
    augment = config.data.augment
    augment.speed = 0.2
    augment.rotation = 15.0
    augment.tilt = 15.0
    augment.scale = 0.2
    augment.shift = 0.05
    augment.mirror = 0.5  # some participants are left-handed

    config.stage1.epochs = 3
    config.stage2.epochs = 40
    config.stage2.lr = 5e-4
    config.stage3.epochs = 10
    config.stage3.lr = 1e-4
    # Clips are a second or two.
    for stage in (config.stage1, config.stage2, config.stage3):
        stage.batch_size = 128
    return config

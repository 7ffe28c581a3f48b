"""Isharah at base size, three stages, for one GPU or TPU.

    python tools/prepare_corpus.py isharah --root=isharah --annotations=isharah/annotations_v2/SI \\
        --on_bad=skip --out=data/processed
    python -m wsign_jax.main --config=configs/isharah.py

Saudi sentences, 15,000 (Isharah-1000) or 30,000 (Isharah-2000), filmed by the signers' phones. SI is the
challenges' split by signers, US theirs by sentences. The run goes to `runs/isharah`.

Not measured: neither the corpus nor an accelerator was at hand, so no score was measured here, and
neither time nor WER is known. The starter kit's README gives its transformer 25.1 (SI) and 87.6 (US)
percent WER on dev. The keypoints have no depth, so `tilt` is off, and the model is for such keypoints,
not for videos.
"""

from ml_collections import ConfigDict

from configs import phoenix2014


def get_config() -> ConfigDict:
    """Returns the config."""
    config = phoenix2014.get_config()
    config.model.vocab_size = 0
    config.data.on_bad = "skip"
    config.data.augment.tilt = 0.0
    config.data.augment.scale = 0.3  # how large a picture was is a guess
    return config

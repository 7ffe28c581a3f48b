"""RWTH-PHOENIX-2014 at base size, three stages, for one GPU or TPU.

    python tools/prepare_corpus.py phoenix2014 --root=phoenix-2014-multisigner --out=data/processed
    python -m wsign_jax.main --config=configs/phoenix2014.py

5672 / 540 / 629 sentences, 1295 glosses. Glosses are trained as they are written. Published scores are
WER after a clean-up (`wsign_jax.data.corpora.phoenix2014.normalize_glosses`), so the validation WER of a
run does not compare with them. The run goes to `runs/phoenix2014`.

Not measured: neither the corpus nor an accelerator was at hand, so neither time nor WER is known.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    # For the whole corpus. A larger vocabulary is an error; a smaller one is padded with unused ids.
    config.model.vocab_size = 1296
    config.data.threads = 8
    augment = config.data.augment
    augment.speed = 0.2
    augment.rotation = 10.0
    augment.tilt = 10.0
    augment.scale = 0.15
    augment.shift = 0.05
    return config

"""Stage 1, warm-up: the new frontend and the CTC head learn under a frozen encoder.

    python -m wsign_jax.main --config=configs/stage1.py

Base size (Whisper base: D 512, 6 + 6 layers), 30 epochs of CTC at learning rate 1e-3, batch 32, on the
data set in `data/processed`. The run goes to `runs/stage1`, where stage2.py finds it.

Measured on 2 CPU cores: a step of 32 x 768 frames takes 2.8 s once compiled. No accelerator was at hand
and this size is not for a CPU, so neither time nor WER of a whole run has been measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """The config."""
    config = base.get_config()
    config.stages = ("stage1",)
    return config

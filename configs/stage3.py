"""Stage 3, real time: fine-tuning with chunked, sliding-window attention, so that a stream can be read.

    python -m wsign_jax.main --config=configs/stage3.py

Base size, 30 epochs at learning rate 1e-5, batch 16. Every batch draws a chunk size (one patch to full
attention) and a left context. It starts from the best weights of `runs/stage2` if that run exists,
otherwise from fresh ones. Another run's weights: --config.init_from=DIR. The run goes to `runs/stage3`.

Measured on 2 CPU cores: a step of 16 x 768 frames takes 2.5 s once compiled. No accelerator was at hand
and this size is not for a CPU, so neither time nor WER of a whole run has been measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.stages = ("stage3",)
    config.init_from = "auto"
    return config

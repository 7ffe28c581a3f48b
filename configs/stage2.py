"""Stage 2, joint training: everything learns, with the hybrid loss of CTC and attention decoder.

    python -m wsign_jax.main --config=configs/stage2.py

Base size, 100 epochs of 0.3 CTC + 0.7 cross-entropy at learning rate 5e-5, batch 16, on the data set in
`data/processed`. It starts from the best weights of `runs/stage1` if that run exists, otherwise from
fresh ones. Another run's weights: --config.init_from=DIR. The run goes to `runs/stage2`.

Measured on 2 CPU cores: a step of 16 x 768 frames takes 2.5 s once compiled. No accelerator was at hand
and this size is not for a CPU, so neither time nor WER of a whole run has been measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.stages = ("stage2",)
    config.init_from = "auto"
    return config

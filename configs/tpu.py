"""All three stages at base size on a TPU of eight devices (v2-8, v3-8, v5e-8).

    python -m wsign_jax.main --config=configs/tpu.py

For a data set in `data/processed`; stages, epochs, learning rates and batches are base.py's. Batches of
32 and 16 give each of eight devices 4 and 2 rows. One, two or four devices also work. The run goes to
`runs/tpu`.

Not measured: no accelerator was at hand, so neither speed, nor memory, nor WER on a TPU is known. What
XLA plans there: python tools/describe.py --config=configs/tpu.py --memory
--config.model.vocab_size=1296.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    # Eight devices ask for batches faster than one, and a TPU's host has dozens of cores.
    config.data.threads = 8
    # Smooths out the noise of a batch of 16 and of low precision.
    config.training.ema = 0.999
    return config

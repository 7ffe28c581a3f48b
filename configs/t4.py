"""All three stages at base size on one NVIDIA T4 (16 GB, Colab's free GPU).

    python -m wsign_jax.main --config=configs/t4.py

For a data set in `data/processed`; stages, epochs, learning rates and batches are base.py's. The run
goes to `runs/t4`. If a Colab session ends early, the same command goes on in the next session. For that,
mirror checkpoints to a place that outlives the session:
--config.checkpoint.mirror=/content/drive/MyDrive/wsign_t4 with a mounted Drive.

Not measured: no accelerator was at hand, so neither speed, nor memory, nor WER on a T4 is known. What
XLA plans there: python tools/describe.py --config=configs/t4.py --memory
--config.model.vocab_size=1296. Measured on CPU: ten signs of the built-in signing are learned in
float16, which is chosen on a T4 (tests/learning_test.py).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    # base.py's two data.threads are as many as the CPU cores that Colab gives a T4.

    # Smooths out the noise of a batch of 16 and of low precision; takes 0.2 GB.
    config.training.ema = 0.999
    # Checkpoints every four minutes, as in base.py; each is 0.75 GB, written while training goes on.
    return config

"""Stage 1, warm-up: the new frontend and the CTC head learn under a frozen encoder.

    python -m wsign_jax.main --config=configs/stage1.py                                 # fresh weights
    python -m wsign_jax.main --config=configs/stage1.py --config.init_from=whisper:DIR  # Whisper's own

Base size (Whisper base: D 512, 6 + 6 layers), 30 epochs of CTC at learning rate 1e-3, batch 32, on the
data set in `data/processed`. The run goes to `runs/stage1`, where stage2.py finds it.

From fresh weights the frozen encoder is a random one; from Whisper's it is one that knows speech. DIR
has `config.json` and `model.safetensors` as on the Hugging Face Hub, or is a name there,
`openai/whisper-base`. Imported are the blocks and final norms of encoder and decoder, cross-attention
included. Frontend, CTC head and gloss embeddings are new: Whisper's convolutions are for sound, its
embeddings for text. Nor are the decoder's learned positions taken, for this decoder computes its own.
The encoder's positions become Whisper's ('sinusoidal'), which stages 2 and 3 find in the run.

Other sizes than base: --config.model.size=whisper_tiny, large (Whisper small) or whisper_medium. A part
of the layers: --config.model.encoder.num_layers=3, the first or (--config.init_layers=spread) evenly
spread ones; sizes and numbers are to be repeated in stages 2 and 3.

Later stages can train what was imported slower than the rest, and lower layers slower than upper ones:
--config.stage2.rules="(('(encoder|decoder)/.*','train',0.3,0.8),('.*','train'))".

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

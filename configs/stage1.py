"""Stage 1, warm-up: the new frontend and the CTC head learn, and the encoder is frozen.

    python -m wsign_jax.main --config=configs/stage1.py                                 # fresh weights
    python -m wsign_jax.main --config=configs/stage1.py --config.init_from=whisper:DIR  # Whisper's own

Base size (Whisper base: D 512, 6 + 6 layers), 30 epochs of CTC at learning rate 1e-3, batch 32, on the
data set in `data/processed`. The run goes to `runs/stage1`, where stage2.py finds it.

From fresh weights the frozen encoder is random; from Whisper's it knows speech. DIR has `config.json`
and `model.safetensors` as on the Hugging Face Hub, or is a name there: `openai/whisper-base`. The
import takes the blocks and final norms of encoder and decoder, cross-attention included. Frontend, CTC
head and gloss embeddings are new, because Whisper's convolutions are for sound and its embeddings for
text. The decoder's learned positions are not taken either, because this decoder computes its own. The
encoder's positions become Whisper's ('sinusoidal'); stages 2 and 3 find that in the run.

For other sizes: --config.model.size=whisper_tiny, large (Whisper small) or whisper_medium. For some of
the layers: --config.model.encoder.num_layers=3 takes the first three, or evenly spread ones with
--config.init_layers=spread. Repeat sizes and numbers of layers in stages 2 and 3.

Later stages can train imported layers slower than the rest, and lower layers slower than upper ones:
--config.stage2.rules="(('(encoder|decoder)/.*','train',0.3,0.8),('.*','train'))".

Measured on 2 CPU cores: a step of 32 x 768 frames takes 2.8 s once compiled. No accelerator was at hand
and this size is not for a CPU, so neither time nor WER of a whole run has been measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.stages = ("stage1",)
    return config

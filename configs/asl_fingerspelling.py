"""Kaggle's ASL Fingerspelling at small size, three stages, for one GPU or TPU.

    pip install -e ".[parquet]"
    python tools/prepare_corpus.py asl_fingerspelling --root=asl-fingerspelling --on_bad=skip \\
        --out=data/processed
    python -m wsign_jax.main --config=configs/asl_fingerspelling.py

67,208 phrases, or 120,166 with the supplemental ones, by more than 100 people. A gloss is a character,
so the WER of a report is the rate of wrong characters. People are held out for validation and for
testing. The run goes to `runs/asl_fingerspelling`.

Not measured: neither the corpus nor an accelerator was at hand, so no score was measured here, and
neither time nor WER is known. Sizes and learning rates lie between those of asl.py, which was measured,
and of base.py.
"""

from ml_collections import ConfigDict

from configs import asl_signs


def get_config() -> ConfigDict:
    """Returns the config."""
    config = asl_signs.get_config()
    # Letters come up to ten a second, and CTC needs a patch between two of the same.
    config.model.frontend.patch_size = 2
    # Phrases last five seconds or ten; a few are longer than 25, and are skipped.
    for stage in (config.stage1, config.stage2, config.stage3):
        stage.batch_size = 32
    return config

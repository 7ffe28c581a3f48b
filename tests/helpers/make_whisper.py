"""python tests/helpers/make_whisper.py tests/helpers/whisper 0

Writes a small random Whisper, as transformers saves it, and what transformers computes with it, for
`whisper_weights_test.py`. Needs torch and transformers, which that test does not; its second half, where
they are installed, makes another with them.
"""

import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

WIDTH, HEADS, HIDDEN, LAYERS = 32, 4, 64, 2
PATCHES, TOKENS, VOCAB = 12, 7, 10


def sinusoids(length: int, width: int) -> torch.Tensor:
    """As OpenAI's whisper/model.py has them."""
    half = width // 2
    scales = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=torch.float64))
    angles = torch.arange(length)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def make_model(seed: int) -> transformers.WhisperModel:
    """Random weights, large enough that every part of a block matters."""
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(
        d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS,
        encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN,
        num_mel_bins=3, max_source_positions=PATCHES, max_target_positions=TOKENS, vocab_size=VOCAB,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperModel(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            norm = "layer_norm.weight" in name
            value.copy_(torch.randn_like(value) * 0.2 + (1.0 if norm else 0.0))
        # The encoder's are Whisper's own. Its decoder learns them; ours are fixed, so here they are too.
        model.encoder.embed_positions.weight.copy_(sinusoids(PATCHES, WIDTH))
        model.decoder.embed_positions.weight.copy_(sinusoids(TOKENS, WIDTH))
    return model


def reference(model: transformers.WhisperModel) -> dict[str, torch.Tensor]:
    """Inputs and outputs of both stacks and of every block.

    Returns:
        'encoder.in' (1, N, D) before positions, 'decoder.tokens' (1, U), '<stack>.out', and
        '<stack>.<block>.in' and '.out'.
    """
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str, block: torch.nn.Module) -> None:
        def hook(_, args, kwargs, out):
            seen[f"{name}.in"] = args[0] if args else kwargs["hidden_states"]
            seen[f"{name}.out"] = out[0] if isinstance(out, tuple) else out

        block.register_forward_hook(hook, with_kwargs=True)

    for stack in ("encoder", "decoder"):
        for number, block in enumerate(getattr(model, stack).layers):
            watch(f"{stack}.{number}", block)
    sound = torch.randn(1, model.config.num_mel_bins, 2 * PATCHES)
    tokens = torch.tensor([[0, *torch.randint(1, VOCAB, (TOKENS - 1,)).tolist()]])
    encoder, gelu = model.encoder, torch.nn.functional.gelu
    with torch.no_grad():
        heard = gelu(encoder.conv2(gelu(encoder.conv1(sound)))).permute(0, 2, 1)
        out = model(input_features=sound, decoder_input_ids=tokens)
    seen |= {"encoder.in": heard, "encoder.out": out.encoder_last_hidden_state}
    seen |= {"decoder.tokens": tokens, "decoder.out": out.last_hidden_state}
    return {name: value.contiguous().clone() for name, value in seen.items()}


def write(folder: pathlib.Path, seed: int) -> None:
    """Writes `config.json`, `model.safetensors` and `reference.safetensors`."""
    model = make_model(seed)
    model.save_pretrained(folder)
    save_file(reference(model), folder / "reference.safetensors")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), seed=int(sys.argv[2]))

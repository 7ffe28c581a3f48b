"""Reads Whisper's weights from a folder in the Hugging Face layout: `config.json` and safetensors.

The blocks and final norms of encoder and decoder are taken, cross-attention included. Not taken are the
audio convolutions, the text embeddings, and the decoder's learned positions: this decoder has fixed ones
(the encoder's follow Whisper's own formula). Linear kernels are transposed in the files.
"""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors

from wsign_jax.common.errors import WSignError
from wsign_jax.common.files import read_json
from wsign_jax.model.whisper_sign import SIZES

CHOICES = ("first", "spread")  # which of the file's blocks, if the model has fewer

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_STACKS = ("encoder", "decoder")
_BLOCK = re.compile(r"(encoder|decoder)/blocks/(\d+)/")
# Parts of a parameter's path here, and their names in the file.
_NAMES = {
    "blocks": "layers",
    "attention": "self_attn",
    "attention_norm": "self_attn_layer_norm",
    "cross_attention": "encoder_attn",
    "cross_norm": "encoder_attn_layer_norm",
    "mlp_norm": "final_layer_norm",
    "mlp": "",
    "norm": "layer_norm",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
    "up": "fc1",
    "down": "fc2",
    "kernel": "weight",
    "scale": "weight",
}
_DTYPES = ("F16", "F32")
_TO_CONVERT = (
    "convert it with transformers and torch: python -m "
    "transformers.models.whisper.convert_openai_to_hf --checkpoint_path FILE.pt "
    "--pytorch_dump_folder_path OUT (of OpenAI's), or WhisperForConditionalGeneration."
    "from_pretrained(DIR).save_pretrained(OUT), and name OUT"
)


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor in a file that is not read yet."""

    file: pathlib.Path
    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Whisper:
    """A checkpoint of Whisper; `load_tensors` reads its tensors."""

    root: pathlib.Path
    dimensions: dict[str, int]  # D, H and M of the encoder, then of the decoder
    layers: dict[str, int]  # of 'encoder' and 'decoder'
    tensors: dict[str, _Tensor]  # by their names without 'model.'


def open_whisper(root: pathlib.Path) -> Whisper:
    """Reads which tensors a folder has, but not the tensors.

    Raises:
        WSignError: the folder or its weights are missing, a file is damaged, or it is not Whisper.
    """
    if root.suffix in (".pt", ".pth") and root.is_file():
        raise WSignError(f"{root}: a pickled checkpoint, which is not read; {_TO_CONVERT}")
    if not root.is_dir():
        raise WSignError(f"{root}: no such folder; name one with config.json and {_WEIGHTS}")
    pickled = sorted({*root.glob("*.pt"), *root.glob("*.pth"), *root.glob("pytorch_model*.bin")})
    files = _files(root)
    if not files and pickled:
        raise WSignError(f"{pickled[0]}: a pickled checkpoint, which is not read; {_TO_CONVERT}")
    about = root / "config.json"
    if not files or not about.is_file():
        missing = "config.json" if files else f"weights ({_WEIGHTS} or {_INDEX})"
        raise WSignError(f"{root}: no {missing} in it; name a folder in the Hugging Face layout")
    dimensions, layers = _read_config(about)
    tensors: dict[str, _Tensor] = {}
    for file in files:
        tensors |= _read_header(file)
    return Whisper(root, dimensions, layers, tensors)


def _files(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the safetensors files of a folder; [] if it has none.

    Raises:
        WSignError: the index of sharded files is broken, or names a file that is missing.
    """
    if (root / _WEIGHTS).is_file():
        return [root / _WEIGHTS]
    index = root / _INDEX
    if not index.is_file():
        return []
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WSignError(f"{index}: no 'weight_map' of tensors to files in it; fetch it again")
    files = [root / name for name in sorted({*places.values()})]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise WSignError(
            f"{index}: names {', '.join(absent)}, not in {root}; fetch what is missing"
        )
    return files


def _read_config(path: pathlib.Path) -> tuple[dict[str, int], dict[str, int]]:
    """Returns D, H and M of both stacks, and their numbers of layers.

    Raises:
        WSignError: it is another architecture, or a field is missing or not a number.
    """
    config = read_json(path)
    if config.get("model_type") != "whisper":
        names = " ".join(map(str, config.get("architectures") or []))
        kind = config.get("model_type")
        raise WSignError(
            f"{path}: a checkpoint of {kind!r}{names and f' ({names})'}, not of 'whisper'"
        )
    if config.get("activation_function", "gelu") != "gelu":
        raise WSignError(
            f"{path}: activation_function is {config['activation_function']!r}, and Whisper's is 'gelu'"
        )

    def number(name: str) -> int:
        value = config.get(name)
        if not isinstance(value, int) or value < 1:
            raise WSignError(f"{path}: {name} is {value!r}; it must be a whole number over 0")
        return value

    dimensions = {"d_model": number("d_model")}
    for stack in _STACKS:
        for field in ("attention_heads", "ffn_dim"):
            dimensions[f"{stack}_{field}"] = number(f"{stack}_{field}")
    return dimensions, {stack: number(f"{stack}_layers") for stack in _STACKS}


@contextlib.contextmanager
def _opened(file: pathlib.Path) -> Iterator[Any]:
    """Opens a safetensors file; raises a `WSignError` if it is damaged."""
    try:
        with safetensors.safe_open(file, framework="numpy") as opened:
            yield opened
    except safetensors.SafetensorError as error:
        raise WSignError(
            f"{file}: damaged or not whole ({error}; {file.stat().st_size} bytes); fetch it again"
        ) from None


def _read_header(file: pathlib.Path) -> dict[str, _Tensor]:
    """Returns a file's tensors by name, without the 'model.' of checkpoints with a language head."""
    tensors = {}
    with _opened(file) as opened:
        for key in opened.keys():  # noqa: SIM118 (it is not a dict)
            part = opened.get_slice(key)
            tensor = _Tensor(file, key, tuple(part.get_shape()), part.get_dtype())
            tensors[key.removeprefix("model.")] = tensor
    return tensors


def find_tensors(
    whisper: Whisper, size: str, shapes: dict[str, Any], choice: str
) -> dict[str, str]:
    """Returns the tensor that each parameter comes from, after checking that all of them fit.

    Args:
        whisper: the checkpoint.
        size: `config.model.size`.
        shapes: of the model's parameters, a path for every layer (`whisper_sign.unstack_params`).
        choice: 'first' for the checkpoint's first blocks; 'spread' for blocks spread evenly over it,
            the first and the last among them.

    Returns:
        Names in `whisper.tensors` by path; paths without a source are left out.

    Raises:
        WSignError: sizes differ, the checkpoint has too few blocks, or tensors are missing or have
            another shape or dtype.
    """
    _check_dimensions(whisper, size)
    blocks = {}
    for stack, there in whisper.layers.items():
        here = len({m[2] for path in shapes if (m := _BLOCK.match(path)) and m[1] == stack})
        if here > there:
            raise WSignError(
                f"config.model.{stack}.num_layers asks for {here} layers, but {whisper.root} has "
                f"{there}; set it to {there} or less"
            )
        last = max(here - 1, 1)
        spread = [round(n * (there - 1) / last) for n in range(here)]
        blocks[stack] = spread if choice == "spread" else list(range(here))
    named = {path: name for path in shapes if (name := _name(path, blocks))}
    absent = [name for name in named.values() if name not in whisper.tensors]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise WSignError(f"{whisper.root}: no tensor {', '.join(absent[:3])}{more}; fetch it again")
    _check_tensors(whisper, named, shapes, blocks)
    return named


def _check_dimensions(whisper: Whisper, size: str) -> None:
    """Raises a `WSignError` that names those of D, H and M in which file and config differ."""
    ours = SIZES[size]
    expected = {"d_model": ours.width}
    for stack in _STACKS:
        expected[f"{stack}_attention_heads"] = ours.heads
        expected[f"{stack}_ffn_dim"] = ours.hidden
    differing = [
        f"{name} is {there}, not {expected[name]}"
        for name, there in whisper.dimensions.items()
        if there != expected[name]
    ]
    if not differing:
        return
    there = [*whisper.dimensions.values()]
    fitting = [
        name
        for name, s in SIZES.items()
        if there == [s.width, s.heads, s.hidden, s.heads, s.hidden]
    ]
    fix = f"set config.model.size={fitting[0]}" if fitting else "no size of config.model fits it"
    raise WSignError(
        f"{whisper.root} does not fit config.model.size={size}: {', '.join(differing)}; {fix}"
    )


def _name(path: str, blocks: dict[str, list[int]]) -> str | None:
    """Returns the tensor that a parameter comes from; None if Whisper has none for it."""
    if not re.match("(encoder|decoder)/(blocks|norm)/", path):
        return None
    stack, *parts = path.split("/")
    if parts[0] == "blocks":
        parts[1] = str(blocks[stack][int(parts[1])])
    return ".".join([stack, *filter(None, (_NAMES.get(part, part) for part in parts))])


def _check_tensors(
    whisper: Whisper, named: dict[str, str], shapes: dict[str, Any], blocks: dict[str, list[int]]
) -> None:
    """Raises a `WSignError` that names each tensor that has another shape or dtype, or no place."""
    wrong = []
    for path, name in named.items():
        tensor, here = whisper.tensors[name], tuple(shapes[path].shape)
        if tensor.shape != here[::-1]:
            wrong.append(f"{name} is {tensor.shape}, not {here[::-1]}")
        elif tensor.dtype not in _DTYPES:
            wrong.append(f"{name} is {tensor.dtype}, not float16 or float32")
    used = {f"{stack}.layers.{block}." for stack, numbers in blocks.items() for block in numbers}
    known = {*named.values()}
    wrong += [
        f"{name} has no place in this model"
        for name in whisper.tensors
        if name not in known and any(name.startswith(prefix) for prefix in used)
    ]
    if wrong:
        raise WSignError(
            f"{whisper.root}: {'; '.join(wrong)}; config.json and tensors must be one model's"
        )


def load_tensors(whisper: Whisper, named: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each parameter's path and float32 array; `named` is from `find_tensors`.

    Raises:
        WSignError: a file is damaged, or a tensor has NaN or infinity.
    """
    tensors = {path: whisper.tensors[name] for path, name in named.items()}
    for file in dict.fromkeys(tensor.file for tensor in tensors.values()):
        with _opened(file) as opened:
            for path, tensor in tensors.items():
                if tensor.file != file:
                    continue
                value = opened.get_tensor(tensor.key).astype(np.float32)
                if not np.all(np.isfinite(value)):
                    raise WSignError(f"{file}: {tensor.key} has NaN or infinity; fetch it again")
                yield path, np.ascontiguousarray(value.T)

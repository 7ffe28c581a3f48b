"""Whisper's weights in this model against Whisper itself, as transformers computes it."""

import importlib.util
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import small_config
from tests.helpers import whispers
from tests.helpers.whispers import FIXTURE
from wsign_jax.model import whisper_sign, whisper_weights
from wsign_jax.model.layers import block_of

ROOT = pathlib.Path(whisper_weights.__file__).parents[2]
REAL = ROOT / "../shared/data/whisper-base"
V = 10


def build(size, layers=0):
    """The model's graph and the shapes of its parameters; 0 layers are as many as the size has."""
    model = small_config().model
    model.size, model.positions = size, "sinusoidal"
    model.encoder.num_layers = model.decoder.num_layers = layers
    return whisper_sign.build_network(model, V)


def imported(folder, size, layers=0, choice="first"):
    """What is read for such a model, by path; and the names of its tensors."""
    shapes = jax.eval_shape(whisper_sign.unstack_params, build(size, layers)[1])
    whisper = whisper_weights.open_whisper(folder)
    named = whisper_weights.find_tensors(whisper, size, shapes, choice)
    return dict(whisper_weights.load_tensors(whisper, named)), named


def with_weights(folder, size):
    """The model with a checkpoint's weights, and its embeddings: these are scaled by the root of D."""
    graph, shapes = build(size)
    weights, _ = imported(folder, size)
    tokens = load_file(folder / "model.safetensors")["decoder.embed_tokens.weight"]
    weights["decoder/embed/embedding"] = tokens / np.sqrt(np.float32(tokens.shape[1]))
    leaves = []
    for path, shape in whisper_sign.parameter_paths(shapes).items():
        found = [weights[p] for p in whisper_sign.layer_paths(path, shape) if p in weights]
        value = np.stack(found).reshape(shape.shape) if found else np.zeros(shape.shape)
        leaves.append(jnp.asarray(value, shape.dtype))
    return whisper_sign.bind_params(graph, jax.tree.unflatten(jax.tree.structure(shapes), leaves))


def largest_differences(folder, size):
    """To the reference beside the weights, for every block and for both stacks."""
    there = load_file(folder / "reference.safetensors")
    tokens = there.pop("decoder.tokens").astype(np.int32)
    model = with_weights(folder, size)
    return {
        k: float(x) for k, x in jax.jit(lambda *x: differences(model, *x))(there, tokens).items()
    }


def differences(model, there, tokens):
    """The same from the reference's tensors."""
    heard = there["encoder.out"]
    patches = heard.shape[1]
    everything = jnp.ones((1, 1, patches, patches), bool)
    ours = {"encoder.out": model.encoder(there["encoder.in"], everything)}
    for n in range(2):
        x = there[f"encoder.{n}.in"]
        ours[f"encoder.{n}.out"] = block_of(model.encoder.blocks, n)(x, everything, None)
    states = there["decoder.0.in"]
    for n in range(2):
        x, block = there[f"decoder.{n}.in"], block_of(model.decoder.blocks, n)
        ours[f"decoder.{n}.out"] = block(x, heard, everything[:, :, :1])
        states = block(states, heard, everything[:, :, :1])
    ours["decoder.out"] = model.decoder.norm(states)
    # Embeddings, positions and logits too.
    lengths = jnp.array([patches], jnp.int32)
    ours["logits"] = model.decoder(tokens, heard, lengths)
    logits = there["decoder.out"] @ model.decoder.embed.embedding[...].T
    return {
        name: jnp.max(jnp.abs(x - (there | {"logits": logits})[name])) for name, x in ours.items()
    }


def assert_parity(folder, size):
    found = largest_differences(folder, size)
    blocks = {f"{stack}.{n}.out" for stack in ("encoder", "decoder") for n in (0, 1)}
    assert found.keys() == blocks | {"encoder.out", "decoder.out", "logits"}
    assert max(found.values()) <= 1e-5, found


def test_every_block_and_both_stacks_compute_what_whisper_does(fixture_size):
    assert_parity(FIXTURE, fixture_size)
    assert sum(path.stat().st_size for path in FIXTURE.iterdir()) < 300_000


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "transformers"))),
    reason="torch and transformers are not installed; the fixture stands for them",
)
def test_other_weights_compute_what_transformers_does_with_them(fixture_size, tmp_path):
    maker = ROOT / "tests" / "helpers" / "make_whisper.py"
    subprocess.run([sys.executable, maker, tmp_path, "1"], check=True, capture_output=True)
    assert_parity(tmp_path, fixture_size)


def test_shards_a_language_head_and_float16_change_nothing(fixture_size, tmp_path):
    plain, _ = imported(FIXTURE, fixture_size)
    sharded = whispers.write(tmp_path / "sharded")
    whispers.shard(sharded)

    def with_head(tensors):
        for name in [*tensors]:
            tensors[f"model.{name}"] = tensors.pop(name).astype(np.float16)
        tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"]

    half, _ = imported(whispers.write(tmp_path / "half", with_head), fixture_size)
    again, _ = imported(sharded, fixture_size)
    assert again.keys() == half.keys() == plain.keys()
    for path, value in plain.items():
        np.testing.assert_array_equal(again[path], value)
        assert half[path].dtype == value.dtype == np.float32
        np.testing.assert_array_equal(half[path], value.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("choice", "layers", "taken"),
    [("first", 2, {0, 1}), ("spread", 2, {0, 5}), ("spread", 3, {0, 2, 5}), ("spread", 1, {0})],
)
def test_which_layers_are_taken_where_the_model_has_fewer(
    fixture_size, tmp_path, choice, layers, taken
):
    def deeper(tensors):
        for name in [name for name in tensors if ".layers.1." in name]:
            for layer in range(2, 6):
                deep = name.replace(".layers.1.", f".layers.{layer}.")
                tensors[deep] = tensors[name] + np.float32(layer)

    folder = whispers.write(tmp_path / "deep", deeper, encoder_layers=6, decoder_layers=6)
    weights, named = imported(folder, fixture_size, layers, choice)
    assert {int(name.split(".")[2]) for name in named.values() if ".layers." in name} == taken
    last = load_file(folder / "model.safetensors")[f"decoder.layers.{max(taken)}.fc1.weight"]
    np.testing.assert_array_equal(weights[f"decoder/blocks/{layers - 1}/mlp/up/kernel"], last.T)


@pytest.mark.skipif(not REAL.is_dir(), reason="no Whisper base beside the project")
def test_whisper_base_itself_fits_the_base_size():
    weights, named = imported(REAL, "base", layers=2)
    assert weights["encoder/blocks/1/mlp/up/kernel"].shape == (512, 2048)
    assert all(value.dtype == np.float32 for value in weights.values())
    whisper = whisper_weights.open_whisper(REAL)
    unused = {name.split(".layers.")[0] for name in whisper.tensors.keys() - {*named.values()}}
    audio = {f"encoder.conv{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    positions = {f"{stack}.embed_positions.weight" for stack in ("encoder", "decoder")}
    assert unused == audio | positions | {"encoder", "decoder"}

"""Starting from Whisper's weights: what a run makes of them, what it says, and what it refuses."""

import functools
import json
import sys
import types

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import config_of
from tests.helpers import whispers
from tests.helpers.whispers import FIXTURE
from wsign_jax import main
from wsign_jax.common.errors import WSignError
from wsign_jax.evaluate import evaluate, trained_run
from wsign_jax.model import whisper_sign, whisper_weights
from wsign_jax.train import initial_weights, loop
from wsign_jax.train.checkpoint import checksums, store
from wsign_jax.train.run import prepare_run

WHISPER = f"whisper:{FIXTURE}"


def config_for(root, size, stage, init_from=WHISPER):
    """One epoch of one stage of a model of the fixture's size."""
    config = config_of(root)
    config.model.size, config.model.encoder.num_layers = size, 0
    config.stages, config.init_from = (stage,), init_from
    config.stage1.epochs, config.stage1.batch_size = 1, 4
    return config


def last_weights(workdir):
    """The newest checkpoint's parameters by path, and what it says."""
    checkpoints = store.Checkpoints(workdir)
    run = trained_run.open_run(checkpoints.path(checkpoints.latest_step))
    return whisper_sign.unstack_params(run.params), run


@pytest.mark.usefixtures("standard_promotion")
def test_stage_1_leaves_what_is_imported_alone_and_stage_2_moves_it(
    dataset, fixture_size, tmp_path, capsys
):
    first, second = tmp_path / "stage1", tmp_path / "stage2"
    config = config_for(dataset, fixture_size, "stage1")
    assert loop.train(config, first)
    out = capsys.readouterr().out
    assert "config.model.positions: sinusoidal, as in Whisper" in out
    assert f"starting from the weights of Whisper in {FIXTURE}" in out
    assert "encoder/blocks/1        8,512 parameters  encoder.layers.1" in out
    assert "not taken: decoder.embed_positions.weight, decoder.embed_tokens.weight, enc" in out
    weights, run = last_weights(first)
    assert run.config.model.positions == "sinusoidal"
    told = json.loads((first / "init.json").read_text())
    fresh = {name for name, group in told["groups"].items() if group["from"] == "fresh"}
    assert fresh == {"frontend", "ctc_head", "decoder/embed"}
    for group in told["groups"].keys() - {"frontend", "ctc_head"}:  # the embeddings are frozen too
        members = {p: x for p, x in weights.items() if whisper_sign.group_of(p) == group}
        now = checksums.checksums_of_arrays({group: members})[group]
        assert f"{now:08x}" == told["groups"][group]["checksum"], group
    there = load_file(FIXTURE / "model.safetensors")
    kernel = there["decoder.layers.1.encoder_attn.q_proj.weight"].T
    path = "decoder/blocks/1/cross_attention/query/kernel"
    np.testing.assert_array_equal(weights[path], kernel)

    # Stage 2 takes positions along with the weights, though they are nowhere in its config.
    config = config_for(dataset, fixture_size, "stage2", "auto")
    assert loop.train(config, second)
    moved, run = last_weights(second)
    assert run.config.model.positions == "sinusoidal"
    for path, value in weights.items():
        assert not np.array_equal(moved[path], value), path

    # It goes on, and is evaluated, where neither its own config nor what it began with says so.
    config.init_from = ""
    capsys.readouterr()
    assert loop.train(config, second)
    assert "finished before" in capsys.readouterr().out
    evaluate.evaluate(config, second)
    assert (second / "report_test.json").exists()
    config.model.positions = "rotary"
    with pytest.raises(WSignError, match=r"positions: was 'sinusoidal', is 'rotary'"):
        loop.train(config, second)
    config.init_from = str(first)
    with pytest.raises(
        WSignError, match=r"positions is 'rotary', but .* trained with 'sinusoidal'"
    ):
        initial_weights.initial_params(prepare_run(config, tmp_path / "other"))


def positions(config, workdir):
    return initial_weights.settle_positions(config, workdir).model.positions


def test_where_positions_come_from(trained_run, config, tmp_path):
    _, workdir = trained_run
    assert positions(config, tmp_path) == "rotary"
    config.init_from = "whisper:openai/whisper-base"
    assert positions(config, tmp_path) == "sinusoidal"
    assert positions(config, workdir) == "rotary", "its own checkpoint goes first"
    config.checkpoint.mirror = str(workdir)
    assert positions(config, tmp_path) == "rotary", "and its copy"
    config.checkpoint.mirror, config.model.positions = "", "rotary"
    assert positions(config, tmp_path) == "rotary", "unless overridden"


def nan(tensors):
    tensors["encoder.layers.1.fc1.bias"][3] = np.nan


def cut(tensors):
    for layer in (0, 1):
        tensors[f"encoder.layers.{layer}.fc1.bias"] = np.zeros(63, np.float32)


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def lose_a_shard(folder):
    whispers.shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def only(*names):
    """A folder with these files, empty, and none of the fixture's weights."""

    def spoil(folder):
        (folder / "model.safetensors").unlink()
        for name in names:
            (folder / name).touch()

    return spoil


def bad(*messages, change=lambda tensors: None, spoil=lambda folder: None, **fields):
    """What must be said of a checkpoint whose tensors, config and folder were changed so."""
    return change, fields, spoil, messages


def add(**tensors):
    return lambda there: there.update({k.replace("__", "."): x for k, x in tensors.items()})


BAD = {
    "no weights": bad("no weights (model.safetensors or model.safetensors.index", spoil=only()),
    "no config": bad("no config.json in it", spoil=lambda f: (f / "config.json").unlink()),
    "broken config": bad("not valid JSON", spoil=lambda f: (f / "config.json").write_text("{")),
    "a field missing": bad("decoder_ffn_dim is None", decoder_ffn_dim=None),
    "architecture": bad("a checkpoint of 'wav2vec2' (", model_type="wav2vec2", architectures=["W"]),
    "GELU": bad("activation_function is 'relu'", activation_function="relu"),
    "another size": bad("config.model.size=fixture: d_model is 384, not 32", d_model=384),
    "shapes": bad(*(f"layers.{n}.fc1.bias is (63,), not (64,)" for n in (0, 1)), change=cut),
    "tensors missing": bad(
        "no tensor decoder.layer_norm.bias", change=lambda x: x.pop("decoder.layer_norm.bias")
    ),
    "a tensor too many": bad(
        "encoder.layers.0.self_attn.k_proj.bias has no place in this model",
        change=add(encoder__layers__0__self_attn__k_proj__bias=np.ones(32)),
    ),
    "dtype": bad(
        "encoder.layer_norm.bias is F64, not float16 or float32",
        change=add(encoder__layer_norm__bias=np.ones(32)),
    ),
    "no numbers": bad("encoder.layers.1.fc1.bias has NaN or infinity", change=nan),
    "truncated": bad("damaged or not whole", "100000 bytes", spoil=truncate),
    "a shard missing": bad("names model-00002-of-00002.safetensors, not", spoil=lose_a_shard),
    "too few layers": bad("decoder.num_layers asks for 2", decoder_layers=1),
    "OpenAI's own": bad("base.pt: a pickled", "convert_openai_to_hf", spoil=only("base.pt")),
    "pickled": bad("save_pretrained(OUT)", spoil=only("pytorch_model.bin")),
}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("case", [*BAD, "no folder"])
def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(
    dataset, fixture_size, tmp_path, capsys, case
):
    folder, messages = tmp_path / "nowhere", ["nowhere: no such folder"]
    if case in BAD:
        change, fields, spoil, messages = BAD[case]
        folder = whispers.write(tmp_path / "whisper", change, **fields)
        spoil(folder)
    flags = ["--config=tests/helpers/small.py", f"--workdir={tmp_path / 'work'}"]
    flags += [f"--config.data.dir={dataset}", f"--config.model.size={fixture_size}"]
    flags += ["--config.model.encoder.num_layers=2", f"--config.init_from=whisper:{folder}"]
    with pytest.raises(SystemExit) as stop:
        main.main(["main", *flags])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and err.startswith("error: ")
    for message in messages:
        assert message in err
    assert not (tmp_path / "work").exists(), "something was written"


def test_a_pickled_file_named_itself_is_told_how_to_convert(tmp_path):
    (tmp_path / "base.pt").touch()
    with pytest.raises(WSignError, match=r"base.pt: a pickled checkpoint.*convert_openai_to_hf"):
        whisper_weights.open_whisper(tmp_path / "base.pt")


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        (None, r"no folder openai/whisper-base; .* pip install huggingface_hub"),
        (
            OSError("Network is unreachable\nmore"),
            r"\(OSError: Network is unreachable\); bring a copy",
        ),
    ],
)
def test_a_name_on_the_hub_that_cannot_be_had(monkeypatch, hub, message):
    def snapshot_download(*_, **__):
        raise hub

    module = hub and types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(WSignError, match=message) as error:
        initial_weights.whisper_folder("openai/whisper-base")
    assert "\n" not in str(error.value)


def test_a_name_on_the_hub_is_downloaded(monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, "pytorch_model.bin" in allow_patterns))
        return str(FIXTURE)

    module = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    assert initial_weights.whisper_folder("openai/whisper-base") == FIXTURE
    assert asked == [("openai/whisper-base", False)]
    assert initial_weights.whisper_folder(str(FIXTURE)) == FIXTURE and len(asked) == 1


def test_fresh_parts_are_the_seeds(dataset, fixture_size, tmp_path):
    run = prepare_run(config_for(dataset, fixture_size, "stage1"), tmp_path)
    params, fresh = initial_weights.initial_params(run)(), initial_weights.fresh_params(run)
    for part in ("frontend", "ctc_head"):
        # Made in one program here, which may round another way.
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9)
        jax.tree.map(close, params[part], fresh[part])
    assert jax.tree.structure(params) == jax.tree.structure(fresh)


def test_fresh_gloss_embeddings_fit_the_scale_of_whispers_norm(dataset, fixture_size, tmp_path):
    """Logits are their product: as large as from fresh weights, whatever the norm's weights are."""
    run = prepare_run(config_for(dataset, fixture_size, "stage1"), tmp_path)
    whisper, named = initial_weights.find_whisper(run, str(FIXTURE))
    params, fresh = (
        initial_weights.whisper_params(run, whisper, named),
        initial_weights.fresh_params(run),
    )
    norm = params["decoder"]["norm"]["scale"]
    np.testing.assert_array_equal(
        norm, load_file(FIXTURE / "model.safetensors")["decoder.layer_norm.weight"]
    )
    size = float(np.sqrt(np.mean(np.square(norm))))
    assert abs(size - 1) > 0.05, "the fixture's norm would not show it"
    ours, theirs = (weights["decoder"]["embed"]["embedding"] for weights in (params, fresh))
    np.testing.assert_allclose(np.asarray(ours) * size, theirs, rtol=1e-5, atol=1e-8)

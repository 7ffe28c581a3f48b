"""The PyTorch peer is the same network, and what compares with it runs; the former needs torch here."""

import dataclasses
import functools
import stat
import sys

import jax
import numpy as np
import pytest

from tests.helpers.recorded import switches
from tools.benchmark import batches, peer, peer_keypoints, phoenix, training
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.keypoints import joints
from wsign_jax.model import features, whisper_sign
from wsign_jax.train import losses, stages
from wsign_jax.train.optimizer import make_optimizer
from wsign_jax.train.state import create_state
from wsign_jax.train.step import make_train_step

VOCAB = 7


@pytest.fixture
def torch_peer():
    pytest.importorskip("torch", reason="PyTorch is not installed; see tools/benchmark/peer.py")
    from tools.benchmark import torch_peer  # noqa: PLC0415

    return torch_peer


@pytest.fixture
def without_dropout(config):
    config.model.frontend.look_ahead = 2  # a convolution the wrong way round would show
    config.model.frontend.spatial_dropout = config.model.frontend.dropout = 0.0
    config.model.encoder.dropout = config.model.decoder.dropout = 0.0
    config.stage2.weight_decay = 0.5  # large enough to show
    return config


def random_batch(seed):
    """Three rows, two of which end within a patch."""
    rng = np.random.default_rng(seed)
    label_lengths = np.array([4, 2, 3], np.int32)
    labels = rng.integers(1, VOCAB, (3, 4)).astype(np.int32)
    labels[np.arange(4)[None] >= label_lengths[:, None]] = 0
    batch = training.signing_batch(3, 38)
    return dataclasses.replace(batch, labels=labels, label_lengths=label_lengths)


def both(torch_peer, config):
    """Our graph and parameters, and the same network of the peer."""
    graph, shapes = whisper_sign.build(config.model, VOCAB)
    params = whisper_sign.init(config.model, shapes, seed=0)
    theirs = torch_peer.WhisperSign(torch_peer.Spec(**peer.peer_spec(config, VOCAB)))
    torch_peer.load(theirs, jax.device_get(whisper_sign.unstacked(params)))
    return graph, params, theirs


def distance(ours, theirs):
    """Relative."""
    return np.linalg.norm(ours - theirs) / np.linalg.norm(ours)


def test_losses_and_gradients_are_ours(torch_peer, without_dropout):
    config, batch = without_dropout, random_batch(0)
    inputs = peer.peer_batch(batch)
    graph, params, theirs = both(torch_peer, config)
    settings = stages.StepSettings(alpha=np.float32(config.stage2.alpha))

    @functools.partial(jax.grad, has_aux=True)
    def gradients(params):
        model = whisper_sign.bind(graph, params)
        return losses.batch_loss(
            model,
            inputs["features"],
            batch,
            settings,
            config.training.label_smoothing,
            hybrid=True,
        )

    grads, metrics = jax.jit(gradients)(params)
    found = theirs(torch_peer.to_tensors(*inputs.values()))
    found.total.backward()
    for name, loss in zip(("loss", "ctc", "attention"), found, strict=True):
        assert float(metrics[name]) == pytest.approx(loss.item(), rel=1e-4), name
    parameters = dict(theirs.named_parameters())
    for path, ours in whisper_sign.unstacked(jax.device_get(grads)).items():
        found = parameters.pop(torch_peer.name(path)).grad.numpy()
        assert distance(torch_peer.layout(path, ours), found) < 1e-4, path
    assert not parameters, "parameters that we do not have"


@pytest.mark.usefixtures("standard_promotion")
def test_steps_move_weights_as_ours_do(torch_peer, without_dropout):
    config = without_dropout
    graph, params, theirs = both(torch_peer, config)
    before = jax.device_get(whisper_sign.unstacked(params))
    labels = stages.label_parameters(params, config.stage2.rules, "stage2")
    settings = stages.StepSettings(
        *map(np.float32, (config.stage2.lr, config.stage2.weight_decay, config.stage2.alpha))
    )
    tx = make_optimizer(labels, settings, config.training.grad_clip)
    ours = create_state(params, tx, 0, ema=False, loss_scale=None)
    train_step = make_train_step(graph, labels, config.training, switches(), hybrid=True)
    optimizer = torch_peer.make_optimizer(theirs)
    for seed in range(3):
        batch = random_batch(seed)
        ours, _ = train_step(ours, batch, settings)
        inputs = torch_peer.to_tensors(*peer.peer_batch(batch).values())
        torch_peer.train_step(theirs, optimizer, inputs)
    parameters = dict(theirs.named_parameters())
    for path, after in whisper_sign.unstacked(jax.device_get(ours.params)).items():
        moved = torch_peer.layout(path, after - before[path])
        found = parameters[torch_peer.name(path)].detach().numpy()
        # Adam's first steps have the size of their gradients' signs: rounding turns a few over.
        assert distance(moved, found - torch_peer.layout(path, before[path])) < 1e-2, path


@pytest.mark.usefixtures("standard_promotion")
def test_it_is_measured(torch_peer, capsys):
    sizes = {"batch": 2, "frames": 64, "rounds": 1, "epoch_batch": 2, "sample": 1}
    figures = peer.measure(sys.executable, size="tiny", epoch_rounds=1, **sizes)
    assert {"peer_step_ratio", "peer_epoch_ratio"} <= set(figures)
    assert all(value > 0 for value in figures.values())
    assert "of a matrix product's" in capsys.readouterr().out, "each side's share of its peak"


def test_its_normalization_is_ours():
    batch = random_batch(0)
    ours = features.features_of_sequences(
        batch.positions, batch.confidence, batch.frames, wrist_place=True
    )
    theirs = peer.peer_batch(batch)["features"]
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


def test_its_augmentation_changes_what_is_switched_on():
    signing, rng = phoenix.signing(40), np.random.default_rng(0)
    same, hidden = peer_keypoints.augment(signing, 40, switches(), rng)
    np.testing.assert_allclose(same, signing, atol=1e-3)
    assert not hidden.any()
    on = {"rotation": 20.0, "tilt": 20.0, "mirror": 1.0, "jitter": 2.0, "joint_mask": 0.5}
    config = switches(**on, scale=0.3, shift=0.1, noise=0.01, temporal_mask=0.9)
    changed, hidden = peer_keypoints.augment(signing, 50, config, rng)
    assert changed.shape == (50, 42, 7) and 0 < hidden.sum() < 42
    assert 0 < joints.seen_hands(changed).mean() < 1


def test_without_torch_it_says_how_to_install_it(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(WSignError, match=r"pip install torch --index-url .*--torch_python"):
        peer.check_torch(str(python))
    with pytest.raises(WSignError, match="torch_python=nowhere"):
        peer.check_torch("nowhere")


@pytest.mark.usefixtures("standard_promotion")
def test_an_epoch_is_measured(command, monkeypatch, tmp_path):
    # Sentences of one length: all kinds of batches have one shape to compile.
    monkeypatch.setattr(phoenix, "lengths", lambda count=640, seed=0: np.full(count, 400))
    flags = ("--size=tiny", "--batch=2", "--sample=1", "--rounds=1", "--longest=416")
    status, printed = command("benchmark/epoch.py", *flags, f"--json={tmp_path / 'figures.json'}")
    assert status == 0, printed
    figures = files.read_json(tmp_path / "figures.json")
    assert set(figures) == {
        "epoch_frames_per_second", "epoch_speedup_vs_pad1500", "epoch_speedup_vs_random",
    }  # fmt: skip
    assert all(value > 0 for value in figures.values())


def test_a_sample_stands_for_its_epoch():
    frames = phoenix.lengths(640)
    for plans in (batches.random_plans(frames, 16), batches.bucketed_plans(frames, 16, 8)):
        assert sorted(np.concatenate([plan.rows for plan in plans])) == list(range(640))
        assert all(frames[plan.rows].max() <= plan.bucket for plan in plans)
        mean = np.mean([plan.bucket for plan in plans])
        sample, scale = batches.sampled(plans, 6)
        assert scale * np.mean([plan.bucket for plan in sample]) == pytest.approx(mean)
        assert scale == pytest.approx(1, abs=0.05)
    rounded = [plan.bucket % 16 for plan in batches.random_plans(frames, 16, multiple=16)]
    assert not any(rounded), "so that shapes repeat"


def test_only_what_is_sampled_is_written(tmp_path):
    rows = np.array([[30, 4], [9, 30]], np.int32)
    ours, theirs = (batches.Sample([BatchPlan(0, 900, some)], 1.0) for some in rows)
    written = batches.write(tmp_path / "data", {"ours": ours, "theirs": theirs})
    rules = validate.Rules(phoenix.GLOSSES + 1, 4, 1500)
    split = layout.read_split(tmp_path / "data", "train", rules)
    assert split.ids == ("00004", "00009", "00030")
    assert list(split.frames) == list(phoenix.lengths()[[4, 9, 30]])
    assert written["ours"].plans[0].rows.tolist() == [2, 0]
    assert written["theirs"].plans[0].rows.tolist() == [1, 2]


def test_the_clock_leaves_out_the_first_batch():
    done = []
    plans = [BatchPlan(0, bucket, np.zeros(1, np.int32)) for bucket in (16, 32)]
    seconds = batches.clocked(batches.going_on(plans), done.append, count=2)
    assert [plan.bucket for plan in done] == [32, 16, 32] and seconds >= 0

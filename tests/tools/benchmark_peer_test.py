"""What compares with the PyTorch peer runs; that it is the same network shows each comparison itself."""

import stat
import sys

import numpy as np
import pytest

from tests.helpers.recorded import switches
from tools.benchmark import batches, peer, peer_keypoints, phoenix, training
from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, validate
from wsign_jax.data.buckets import BatchPlan
from wsign_jax.keypoints import joints
from wsign_jax.model import features


@pytest.mark.usefixtures("standard_promotion")
def test_it_is_measured(capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed; see tools/benchmark/peer.py")
    sizes = {"batch": 2, "frames": 64, "rounds": 1, "epoch_batch": 2, "sample": 1}
    figures = peer.measure(sys.executable, size="tiny", epoch_rounds=1, **sizes)
    assert {"peer_step_ratio", "peer_epoch_ratio"} <= set(figures)
    assert all(value > 0 for value in figures.values())
    assert "of a matrix product's" in capsys.readouterr().out, "each side's share of its peak"


def test_its_normalization_is_ours():
    batch = training.signing_batch(3, 38)  # which ends within a patch
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

"""The parts of the benchmark that time training: what they measure, not how fast it is."""

import numpy as np
import pytest

from tools.benchmark import cold_start, phoenix, step
from wsign_jax.common.errors import WSignError


@pytest.mark.usefixtures("standard_promotion")
def test_a_bucket_s_step_is_split_into_its_parts(monkeypatch, tmp_path, capsys):
    # In a shape that tests/tools/benchmark_peer_test.py compiles too.
    monkeypatch.setattr(phoenix, "lengths", lambda count, seed=0: np.full(count, 400))
    phoenix.write_dataset(tmp_path / "data", 2)
    found = step.time_buckets("tiny", tmp_path / "data", batch=2, steps=1, buckets=1)
    row = capsys.readouterr().out.splitlines()[-1].split()
    frames, (wait, dispatch, device, gflop, product, share) = int(row[0]), map(float, row[1:])
    assert found[f"step_tiny_2x{frames}_ms"] == pytest.approx(wait + dispatch + device, rel=0.02)
    assert gflop > 0.1 and 0 < share < 1
    assert share == pytest.approx(1000 * gflop / product / (wait + dispatch + device), rel=0.2)
    assert found["step_tiny_matmul_share"] == pytest.approx(share, abs=0.006)


def test_the_last_bucket_is_met_first_when_the_plan_says(tmp_path):
    phoenix.write_dataset(tmp_path / "data", 12)
    steps, buckets = cold_start.steps_to_last_bucket(tmp_path / "data", 2)
    assert buckets <= steps <= 6, "six batches in an epoch"


def test_a_training_that_fails_is_no_figure(tmp_path):
    flags = ["--config=configs/stage2.py", f"--config.data.dir={tmp_path / 'nowhere'}"]
    with pytest.raises(WSignError, match=r"ended before its step 1: .*nowhere: no such folder"):
        cold_start.run(flags, 1, tmp_path / "compiled")

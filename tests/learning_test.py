"""A whole run in float16 that must end with a low error, not just with a falling loss.

For float32, .ci/bare.sh holds the demo's report to its error.
"""

import json

import pytest

from configs import demo
from wsign_jax.evaluate import evaluate
from wsign_jax.train import loop


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_short_run_learns_six_signs(tmp_path):
    config = demo.get_config()
    config.data.synthetic.update({"glosses": 6, "train": 320, "val": 20, "test": 60})
    config.data.max_buckets = 2
    config.stages = ("stage2",)
    config.stage2.epochs = 16
    config.eval.every_epochs = 16
    config.training.precision = "float16"
    config.training.loss_scale = 2.0**24  # the first gradients overflow for certain
    loop.train(config, tmp_path)
    evaluate.evaluate(config, tmp_path)
    report = json.loads((tmp_path / "report_test.json").read_text())
    assert report["wer"] < 0.25, report
    assert 0.3 < report["blank_rate"] < 0.99
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    steps = [line for line in lines if "train/loss" in line]
    first, last = steps[0], steps[-1]
    assert (first["train/skipped_steps"], first["train/loss_scale"]) == (1, 2.0**23)
    assert last["train/skipped_steps"] < 30, "it goes on once the scale fits"

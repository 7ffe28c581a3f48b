import json

import numpy as np
import pytest

from tests.helpers import logs
from wsign_jax.common.errors import WSignError
from wsign_jax.train import metrics_log
from wsign_jax.train.checkpoint import workdir


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_have_stage_step_and_full_precision(tmp_path):
    log = metrics_log.MetricsWriter(tmp_path, 0)
    value = np.float32(0.1)
    log.write("stage1", 1, {"train/loss": value})
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"stage": "stage1", "step": 1, "train/loss": float(value)}
    assert np.float32(line["train/loss"]) == value
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_going_on_leaves_no_repeated_step_and_no_torn_line(tmp_path):
    log = metrics_log.MetricsWriter(tmp_path, 0)
    for step in range(1, 6):
        log.write("stage1", step, {"train/loss": step})
    log.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"stage": "stage1", "st')
    log = metrics_log.MetricsWriter(tmp_path, 3)
    log.write("stage1", 4, {"train/loss": 40})
    log.close()
    assert steps(path) == [1, 2, 3, 4]
    assert steps(tmp_path / "metrics.dropped.jsonl") == [4, 5]
    assert json.loads(path.read_text().splitlines()[-1])["train/loss"] == 40


def test_a_damaged_log_is_kept_beside_what_can_be_read_of_it(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    whole = '{"stage": "stage1", "step": 1}'
    before = whole.encode() + b"\n\xff\xfe\n[1, 2]\n" + whole.replace("1}", "2}").encode() + b"\n"
    path.write_bytes(before)
    metrics_log.MetricsWriter(tmp_path, 3).close()
    assert steps(path) == [1, 2]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == before
    assert f"warning: {path}: line 2 is damaged" in capsys.readouterr().out


def scalars(folder):
    """(step, tag) of what TensorBoard shows."""
    return [(step, value.tag) for step, value in logs.shown(folder)]


def test_tensorboard_shows_every_step_once_over_a_kill(tmp_path):
    log = metrics_log.MetricsWriter(tmp_path, 0)
    for step in range(1, 6):
        log.write("stage1", step, {"train/loss": step})
        if step == 3:
            log.flush()
            assert scalars(tmp_path) == [(1, "train/loss"), (2, "train/loss"), (3, "train/loss")]
    log.flush()
    # Never closed: the process was killed. It goes on from step 3.
    again = metrics_log.MetricsWriter(tmp_path, 3)
    again.write("stage1", 4, {"train/loss": 4, "val/wer": 0.5})
    again.close()
    assert scalars(tmp_path) == [(step, "train/loss") for step in (1, 2, 3, 4)] + [(4, "val/wer")]
    log.close()


def test_a_folder_that_is_not_utf8_is_shown_escaped(tmp_path):
    log = metrics_log.MetricsWriter(tmp_path, 0)
    log.hyperparameters(0, {"data.dir": "caf\udce9"}, ())
    log.close()
    [events] = (tmp_path / workdir.TENSORBOARD).iterdir()
    assert b"caf\\udce9" in events.read_bytes()


def test_a_full_disk_is_one_line(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    log = metrics_log.MetricsWriter(tmp_path, 0)
    lines, log._lines = log._lines, Full()
    with pytest.raises(WSignError, match=r"the logs cannot be written .No space left on device"):
        log.write("stage1", 1, {"train/loss": 1.0})
    log._lines = lines
    log.close()


def test_the_pace_is_a_mean_over_steps_without_what_lay_between(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(metrics_log.time, "monotonic", lambda: now[0])
    pace = metrics_log.Pace(steps=2)
    paces = []
    for seconds, frames in ((1.0, 100), (3.0, 100), (1.0, 300)):
        now[0] += seconds
        paces.append(pace.step(frames))
        now[0] += 50.0  # a validation
        pace.leave_out()
    assert paces == [100.0, 50.0, 100.0]

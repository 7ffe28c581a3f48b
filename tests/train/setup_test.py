import jax
import pytest

from wsign_jax.errors import WSignError
from wsign_jax.train import setup


def test_a_batch_must_divide_by_devices_and_parts(config, dataset, tmp_path, monkeypatch):
    config.data.dir = str(dataset)
    config.training.accumulate = 3
    with pytest.raises(WSignError) as error:
        setup.prepare(config, tmp_path)
    assert str(error.value) == (
        "config.stage2.batch_size is 4; it must be a multiple of 1 (devices) x "
        "3 (config.training.accumulate)"
    )
    config.stage2.batch_size = 6
    run = setup.prepare(config, tmp_path)
    assert {len(plan.rows) for plan in run.stages[0].plans} == {6}, "batches of evaluation stay 4"
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(WSignError, match=r"a multiple of 4 \(devices\)$"):
        setup.process_rows(6, "eval.batch_size")

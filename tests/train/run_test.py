import jax
import pytest

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.train.run import (
    prepare_run,
    process_rows,
    read_annotations,
    read_checked_split,
    settle_buckets,
    validate,
)


def test_a_batch_must_divide_by_devices_and_parts(config, dataset, tmp_path, monkeypatch):
    config.data.dir = str(dataset)
    config.training.accumulate = 3
    with pytest.raises(WSignError) as error:
        prepare_run(config, tmp_path)
    assert str(error.value) == (
        "config.stage2.batch_size is 4; it must be a multiple of 1 (devices) x "
        "3 (config.training.accumulate)"
    )
    config.stage2.batch_size = 6
    run = prepare_run(config, tmp_path)
    assert {len(plan.rows) for plan in run.stages[0].plans} == {6}
    assert {len(plan.rows) for plan in run.val_plans} == {2}, "what is worked through at once"
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(WSignError, match=r"a multiple of 4 \(devices\)$"):
        process_rows(6, "eval.batch_size")


def test_devices_decide_the_buckets_of_a_run_that_begins(
    config, trained_run, tmp_path, monkeypatch
):
    config.data.max_buckets = 0
    assert settle_buckets(config, tmp_path).data.max_buckets == 8
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert settle_buckets(config, tmp_path).data.max_buckets == 4
    assert settle_buckets(config, trained_run[1]).data.max_buckets == 1, "as it began"
    config.data.max_buckets = 3
    assert settle_buckets(config, trained_run[1]).data.max_buckets == 3


def spoil(root):
    """Bad segments and signers; returns what must be said of each."""
    bad = {
        "val/segments/val_01.csv": ("gloss_id,start_s,end_s\n1,abc,2\n", "not a table of gloss_id"),
        "val/segments/val_03.csv": ("gloss_id,start_s,end_s\n9,1,2\n", "its gloss ids are not"),
        "test/segments/test_00.csv": ("gloss_id\n1\n", "its gloss ids are not"),
        "test/signers.csv": ("id,who\n", "signer"),
    }
    for name, (text, _) in bad.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "train/signers.csv").write_text("nobody reads this")
    return {name: said for name, (_, said) in bad.items()}


def test_bad_segments_and_signers_are_all_named_before_anything_trains(config, dataset, tmp_path):
    config.data.dir = str(dataset)
    bad = spoil(dataset)
    with pytest.raises(WSignError, match=r"val: 2 bad of its segments and signers; ") as error:
        prepare_run(config, tmp_path)
    lines = str(error.value).splitlines()
    for name, said in bad.items():
        assert any(name in line and said in line for line in lines), (name, lines)
    assert "train/signers.csv" not in str(error.value)
    (
        dataset / "val/features/val_02.npy"
    ).unlink()  # another kind of mistake hides none of the test split
    with pytest.raises(WSignError, match=r"val_02\.npy(.|\n)*test/signers.csv"):
        prepare_run(config, tmp_path)


def test_bad_segments_and_signers_can_be_left_out(config, dataset, tmp_path, capsys):
    config.data.dir, config.data.on_bad = str(dataset), "skip"
    bad = spoil(dataset)
    good = layout.read_split(dataset, "val", validate.Rules(6, 4, 1500))
    rows = "".join(f"{label},0.0,1.0\n" for label in good.labels[0])
    (dataset / "val/segments/val_00.csv").write_text("gloss_id,start_s,end_s\n" + rows)
    run = prepare_run(config, tmp_path)
    assert [found is not None for found in run.val_segments] == [True, False, False, False, False]
    out = capsys.readouterr().out
    for name in bad:
        assert f"warning: left out {dataset / name}" in out
    annotations = read_annotations(config, read_checked_split(config, dataset, "test"))
    assert annotations.signers == {} and set(annotations.segments) == {None}

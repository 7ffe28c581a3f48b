import types

from wsign_jax.train import start
from wsign_jax.train.checkpoint import Checkpoints


def test_a_run_whose_checkpoints_were_moved_away_keeps_its_logs(tmp_path, capsys):
    run = types.SimpleNamespace(workdir=tmp_path)
    for name in ("metrics.jsonl", "report_test.json"):
        (tmp_path / name).write_text("of the finished run")
    for _ in range(2):
        assert start.resume(run, Checkpoints(tmp_path), None) is None
    assert capsys.readouterr().out == (
        f"{tmp_path}: what an earlier run left without a checkpoint is kept as metrics.1.jsonl, "
        "report_test.1.json\n"
    )
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == dict.fromkeys(("metrics.1.jsonl", "report_test.1.json"), "of the finished run")

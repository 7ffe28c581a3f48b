import json
import shutil

import jax
import numpy as np
import pytest

from tests.conftest import small_config, write_random_split
from wsign_jax import evaluate
from wsign_jax.data import layout
from wsign_jax.errors import WSignError
from wsign_jax.metrics import edit_counts
from wsign_jax.train import checkpoint, evaluation, loop, setup

KEYS = {
    "wer", "substitutions", "deletions", "insertions", "ref_glosses", "sentences", "blank_rate",
    "token_accuracy", "checkpoint", "data", "split", "decoder", "chunk", "left_context",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, its data and its config."""
    base = tmp_path_factory.mktemp("run")
    root = base / "processed"
    for split, count in (("train", 8), ("val", 5), ("test", 6)):
        write_random_split(root, split, count)
    layout.write_label_map(root, {"<blank>": 0} | {f"G{id}": id for id in range(1, 6)})
    config = small_config()
    config.data.dir = str(root)
    config.data.max_buckets = 1
    config.stage2.epochs = 1
    with jax.numpy_dtype_promotion("standard"):
        loop.train(config, base / "work")
    return root, base / "work", config


def test_the_report_has_its_keys_and_adds_up(run, capsys):
    _, workdir, config = run
    evaluate.evaluate(config, workdir)
    report = json.loads((workdir / "report_test.json").read_text())
    assert report.keys() >= KEYS
    assert report["split"] == "test" and report["decoder"] == "greedy" and report["sentences"] == 6
    errors = report["substitutions"] + report["deletions"] + report["insertions"]
    assert report["wer"] == pytest.approx(errors / report["ref_glosses"])
    assert (workdir / "checkpoints").as_posix() in report["checkpoint"]
    out = capsys.readouterr().out
    assert out.count("  reference   G") == 5 and out.count("  hypothesis") == 5


def test_evaluation_does_not_depend_on_batches_or_buckets(run):
    _, workdir, config = run
    reports = []
    for batch_size, buckets in ((4, 1), (1, 8), (16, 2)):
        config.eval.batch_size, config.data.max_buckets = batch_size, buckets
        evaluate.evaluate(config, workdir)
        report = json.loads((workdir / "report_test.json").read_text())
        reports.append({k: v for k, v in report.items() if k != "checkpoint"})
    assert reports[0] == reports[1] == reports[2]


def test_the_mean_of_the_last_checkpoints_is_evaluated(run, tmp_path, capsys):
    _, _, config = run
    config = config.copy_and_resolve_references()
    config.checkpoint.every_steps = 1
    config.eval.average = 2
    work = tmp_path / "work"
    with jax.numpy_dtype_promotion("standard"):
        loop.train(config, work)
    evaluate.evaluate(config, work)
    report = json.loads((work / "report_test.json").read_text())
    assert report["checkpoint"] == f"{work / 'checkpoints' / '1'}, {work / 'checkpoints' / '2'}"
    config.mode, config.eval.average = "evaluate", 3
    evaluate.evaluate(config, work)
    assert "the last stage has only 2 checkpoints" in capsys.readouterr().out


def test_only_the_evaluated_split_is_read(run, tmp_path):
    root, workdir, config = run
    partial = tmp_path / "data"
    shutil.copytree(root / "test", partial / "test")
    shutil.copy(root / "label_map.json", partial)
    config = config.copy_and_resolve_references()
    config.data.dir = str(partial)
    evaluate.evaluate(config, workdir)
    report = json.loads((workdir / "report_test.json").read_text())
    assert report["data"] == str(partial) and report["sentences"] == 6


def test_a_config_of_other_stages_evaluates_the_run_with_its_own(run):
    _, workdir, config = run
    config = config.copy_and_resolve_references()
    evaluate.evaluate(config, workdir)
    expected = (workdir / "report_test.json").read_text()
    config.stages = ("stage1", "stage3")
    config.model.size = "large"
    evaluate.evaluate(config, workdir)
    assert (workdir / "report_test.json").read_text() == expected


def test_evaluation_never_makes_data(run, tmp_path):
    _, workdir, config = run
    config = config.copy_and_resolve_references()
    config.data.dir = ""
    with pytest.raises(WSignError, match="no data set; name the one to use"):
        evaluate.evaluate(config, workdir)
    assert not (workdir / "data").exists()


def test_another_vocabulary_is_refused(run, tmp_path):
    root, workdir, config = run
    changed = tmp_path / "data"
    shutil.copytree(root, changed)
    names = {"<blank>": 0, "G1": 2, "G2": 1, "G3": 3, "G4": 4, "G5": 5}
    layout.write_label_map(changed, names)
    config = config.copy_and_resolve_references()
    config.data.dir = str(changed)
    with pytest.raises(WSignError, match=r"another vocabulary .1: 'G1' there, 'G2' here"):
        evaluate.evaluate(config, workdir)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(WSignError, match="no checkpoint to evaluate"):
        evaluate.evaluate(small_config(), tmp_path / "nowhere")


def test_the_counts_are_those_of_the_hypotheses(run):
    root, workdir, config = run
    split = setup.read_split(config, root, "test", 6)
    network = setup.make_network(config, 6)
    eval_step = evaluation.make_eval_step(network, config)
    checkpoints = checkpoint.Checkpoints(workdir)
    params = checkpoints.restore_weights(checkpoints.best_step, network.shapes)
    result = evaluation.evaluate_split(config, split, eval_step, params, 0.3, network)
    assert sorted(result.hypotheses) == list(range(6))
    total = sum(edit_counts(split.labels[i], result.hypotheses[i]).errors for i in range(6))
    assert result.edits.errors == total
    assert result.edits.ref_glosses == sum(map(len, split.labels))
    assert 0 <= result.token_accuracy <= 1 and 0 <= result.blank_rate <= 1
    assert np.isfinite(result.loss)

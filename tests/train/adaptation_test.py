"""Adapting a run to a person whose data has other ids, with and without the old data."""

import shutil

import numpy as np
import pytest

from tests.conftest import random_features, small_config
from tests.helpers.logs import figures
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.evaluate import evaluate
from wsign_jax.evaluate.trained_run import open_run
from wsign_jax.train import adaptation, loop
from wsign_jax.train.checkpoint import store
from wsign_jax.train.run import prepare_run

NAMES = {"<blank>": 0, "G4": 1, "G2": 2}  # of five; G4 has another id in the run


class Killed(BaseException):
    """A machine that goes away."""


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    root = tmp_path_factory.mktemp("person") / "processed"
    rng = np.random.default_rng(7)
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for number in range(count):
            labels = np.array([1, 2, 1][: number + 1])
            layout.write_example(root, split, f"{number}", random_features(rng, 60), labels)
    layout.write_label_map(root, NAMES)
    return root


def adapting(run, person, replay="auto"):
    config = small_config()
    config.init_from, config.data.dir, config.data.replay = str(run), str(person), replay
    config.data.max_buckets = 1
    config.model.size = "base"  # nobody asks: the run's model is taken
    config.stage2.rules = (("ctc_head/.*", "train"), (".*", "freeze"))
    config.stage2.epochs = 3
    config.eval.pictures = False
    return config


def test_model_and_ids_are_the_runs_and_old_sentences_are_mixed_in(trained_run, person, tmp_path):
    root, workdir = trained_run
    run = prepare_run(adapting(workdir, person), tmp_path)
    theirs = open_run(workdir).info
    assert run.vocabulary == theirs.vocabulary
    assert run.config_json["model"] == theirs.config["model"]
    assert [labels.tolist() for labels in run.train.labels[:3]] == [[4], [4, 2], [4, 2, 4]]
    assert len(run.train) == 3 + 8 and run.guard_loader.split.root == root
    read = [run.stages[0].loader(plan) for plan in run.stages[0].plans]
    per_epoch = np.concatenate([batch.example for batch in read]).reshape(3, -1)
    for examples in per_epoch:
        assert {0, 1, 2} < {*examples} and sum(examples > 2) == 3
    assert len({tuple(sorted(examples)) for examples in per_epoch}) > 1, "drawn anew"
    again = prepare_run(adapting(workdir, person), tmp_path)
    for ours, same in zip(run.stages[0].plans, again.stages[0].plans, strict=True):
        np.testing.assert_array_equal(ours.rows, same.rows)


@pytest.mark.usefixtures("standard_promotion")
def test_it_ends_where_others_fall_behind_and_goes_on_to_the_same_numbers(
    trained_run, person, tmp_path, monkeypatch, capsys
):
    _, workdir = trained_run
    config = adapting(workdir, person)
    config.checkpoint.every_steps = 1
    wers = {0: 0.5, 2: 0.51, 4: 0.5101}  # by step
    monkeypatch.setattr(loop.Trainer, "_replay_wer", lambda self, stage, state, step, _: wers[step])
    alone, cut = tmp_path / "alone", tmp_path / "cut"
    assert loop.train(config, alone)
    out = capsys.readouterr().out
    assert "WER has risen from 0.5000 to 0.5101: training ends here" in out
    saved = store.Checkpoints(alone)
    assert saved.latest_step == 4 and saved.info(4).val_wer is None
    assert saved.best_step in (0, 2)
    assert loop.train(config, alone) and "finished before, at step 4" in capsys.readouterr().out
    evaluate.evaluate(config, alone)  # by the run's ids
    assert (alone / "report_test.json").exists()

    write = loop.MetricsWriter.write

    def killing(self, stage, step, scalars):
        if step == 3 and "train/loss" in scalars:
            raise Killed
        write(self, stage, step, scalars)

    monkeypatch.setattr(loop.MetricsWriter, "write", killing)
    with pytest.raises(Killed):
        loop.train(config, cut)
    monkeypatch.setattr(loop.MetricsWriter, "write", write)
    config.init_from = "gone"
    loop.train(config, cut)
    assert figures(cut) == figures(alone)


def test_it_goes_without_the_old_data_and_says_so(
    trained_run, person, tmp_path, monkeypatch, capsys
):
    root, workdir = trained_run
    monkeypatch.setattr(adaptation.layout, "count", lambda *_: 0)
    run = prepare_run(adapting(workdir, person), tmp_path)
    assert f"replay: {root}, which {workdir} was trained on, is not here" in capsys.readouterr().out
    assert len(run.train) == 3 and run.guard_loader is None and run.config.data.replay == "none"


def remove_train(person):
    shutil.rmtree(person / "train")


def rename_gloss(person):
    layout.write_label_map(person, NAMES | {"OTHER": 3})
    layout.write_labels(person, "val", "0", np.array([3]))


@pytest.mark.parametrize(
    ("change", "spoil", "message"),
    [
        ({"init_from": ""}, None, r"config.init_from is ''; name the run to adapt"),
        (
            {"init_from": "nowhere"},
            None,
            "config.init_from: nowhere holds no checkpoint; name a ru",
        ),
        ({"data.replay": "nowhere"}, None, "data.replay: nowhere: no such folder; name a data set"),
        (
            {"stages": ("stage1", "stage2")},
            None,
            "an adaptation .config.data.replay. has one stage",
        ),
        (
            {"eval.average": 2},
            None,
            "config.eval.average: an adaptation .* best weights alone; give 1",
        ),
        ({}, remove_train, "train: no features.* the train split is empty"),
        ({}, rename_gloss, r"val: the model does not know 'OTHER'; leave .* tools/enroll.py or"),
    ],
)
def test_mistakes_are_one_line(trained_run, person, tmp_path, change, spoil, message):
    copy = shutil.copytree(person, tmp_path / "person")
    if spoil:
        spoil(copy)
    config = adapting(trained_run[1], copy)
    config.update_from_flattened_dict(change)
    with pytest.raises(WSignError, match=message) as error:
        prepare_run(config, tmp_path / "work")
    assert len(str(error.value).splitlines()) == 1


def test_the_runs_own_data_is_no_persons(trained_run, tmp_path):
    root, workdir = trained_run
    with pytest.raises(WSignError, match="is what the run was trained on; name the person's"):
        prepare_run(adapting(workdir, root), tmp_path)

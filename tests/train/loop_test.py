import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest

from tests.conftest import promoting, small_config, write_random_split
from tests.helpers.logs import figures, lines, shown
from wsign_jax.common.errors import DivergedError, WSignError
from wsign_jax.data import layout
from wsign_jax.report.metrics import EditCounts
from wsign_jax.train import initial_weights, loop, resume, save_policy
from wsign_jax.train.checkpoint import store
from wsign_jax.train.compile_ahead import BackgroundCompiler
from wsign_jax.train.run import make_network, prepare_run

STALL = "checkpoint/stall_seconds"

pytestmark = pytest.mark.usefixtures("standard_promotion")


def two_stages(root):
    config = small_config()
    config.data.dir = str(root)
    config.data.augment.speed = 0.2
    config.stages = ("stage1", "stage2")
    config.stage1.epochs, config.stage1.batch_size = 1, 4
    config.checkpoint.every_steps = 2
    config.eval.split = "val"
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two stages on random data, and its trainer."""
    base = tmp_path_factory.mktemp("run")
    root = base / "processed"
    for split, count in (("train", 12), ("val", 5)):
        write_random_split(root, split, count)
        layout.write_labels(root, split, f"{split}_00", np.zeros(0))  # background
    layout.write_label_map(root, {"<blank>": 0} | {f"G{id}": id for id in range(1, 6)})
    workdir = base / "work"
    with promoting():
        config = two_stages(root)
        run = prepare_run(config, workdir)
        checkpoints = store.Checkpoints(workdir, 2)
        due = save_policy.SaveSchedule(config.checkpoint, run.network.mesh, save_policy.Signals())
        with BackgroundCompiler() as compiler:
            trainer = loop.Trainer(run, checkpoints, due, compiler)
            assert trainer.run_stages()
        checkpoints.close()
    return root, workdir, trainer


def test_every_step_is_logged_once_under_its_names(finished):
    _, workdir, trainer = finished
    training = [line for line in lines(workdir) if "train/loss" in line]
    assert [line["step"] for line in training] == list(range(1, len(training) + 1))
    per_stage = [len(stage.plans) for stage in trainer.run.stages]
    assert [line["stage"] for line in training] == ["stage1"] * per_stage[0] + [
        "stage2"
    ] * per_stage[1]
    common = {
        "stage", "step", "train/loss", "train/ctc", "train/lr", "train/grad_norm",
        "train/frames_per_second", "train/padding_efficiency",
    }  # fmt: skip
    for line in training:
        assert line.keys() == common | ({"train/attention"} if line["stage"] == "stage2" else set())
    validation = [line for line in lines(workdir) if "val/wer" in line]
    assert len(validation) == 3, "one after each epoch"
    assert {"val/loss", "val/blank_rate", "val/token_accuracy"} <= validation[0].keys()
    saves = [line for line in lines(workdir) if "checkpoint/stall_seconds" in line]
    assert len({line["step"] for line in saves}) == len(saves) >= 3


def test_one_compilation_per_bucket_shape_and_all_of_them_ahead(finished):
    _, _, trainer = finished
    compiled = [step._cache_size() for step in trainer.train_steps.values()]
    compiled.append(trainer.eval_step._cache_size())
    assert not any(compiled), "nothing was compiled when it was met"
    shapes = sum(len({plan.bucket for plan in stage.plans}) for stage in trainer.run.stages)
    validation = {plan.bucket for plan in trainer.run.val_plans}
    assert len(trainer.compiler._programs) == shapes + len(validation)


def test_the_last_checkpoint_is_the_end_of_the_run(finished):
    _, workdir, trainer = finished
    checkpoints = store.Checkpoints(workdir)
    steps = sum(len(stage.plans) for stage in trainer.run.stages)
    assert checkpoints.latest_step == steps
    info = checkpoints.info(steps)
    assert (info.stage, info.next_batch) == (1, len(trainer.run.stages[1].plans))
    assert info.vocabulary.names[1] == "G1" and info.config["stage2"]["lr"] == 1e-3


def test_the_same_command_again_trains_no_step(finished):
    root, workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_text()
    loop.train(two_stages(root), workdir)
    assert (workdir / "metrics.jsonl").read_text() == before


def assert_same_weights(ours, theirs):
    """The last checkpoints of two workdirs hold the same bits."""
    a, b = store.Checkpoints(ours), store.Checkpoints(theirs)
    assert a.latest_step == b.latest_step
    step = a.latest_step
    shapes = make_network(small_config(), 6).shapes
    for x, y in zip(
        jax.tree.leaves(a.restore_weights(step, shapes)),
        jax.tree.leaves(b.restore_weights(step, shapes)),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)


def test_a_new_best_waits_for_the_next_save_and_is_kept(finished, tmp_path, monkeypatch):
    root, _, _ = finished
    config = two_stages(root)
    config.stages, config.stage2.epochs = ("stage2",), 3
    config.checkpoint.every_steps = 1000
    wers, evaluate = [0.5, 0.25, 0.3], loop.evaluate

    def found(*arguments):
        edits = EditCounts(ref_glosses=100, substitutions=int(100 * wers[len(seen)]))
        seen.append(dataclasses.replace(evaluate(*arguments), edits=edits))
        return seen[-1]

    seen = []
    monkeypatch.setattr(loop, "evaluate", found)
    loop.train(config, tmp_path)
    saved = store.Checkpoints(tmp_path)
    assert [line["step"] for line in lines(tmp_path) if STALL in line] == saved.steps == [6, 9]
    assert saved.best_step == 6 and [saved.info(step).val_wer for step in saved.steps] == wers[1:]
    assert [saved.info(step).next_batch for step in saved.steps] == [6, 9]
    shapes = make_network(config, 6).shapes
    best, last = (saved.restore_weights(step, shapes)["ctc_head"]["bias"] for step in (6, 9))
    assert (best != last).any(), "later steps have not changed it"


def pictures(workdir):
    """Step, tag and content of every picture and text that TensorBoard shows."""
    values = [(step, value) for step, value in shown(workdir) if not value.HasField("simple_value")]
    assert values[0][0] == 0 and values[-1][0] > 0
    return [(step, value.tag, value.SerializeToString()) for step, value in values]


class Killed(BaseException):
    """A machine that goes away."""


@pytest.mark.parametrize("kill_at", [2, 5])
def test_a_run_cut_off_goes_on_to_the_same_numbers(finished, tmp_path, monkeypatch, kill_at):
    root, workdir, _ = finished
    write = loop.MetricsWriter.write

    def killing(self, stage, step, scalars):
        if step == kill_at and "train/loss" in scalars:
            raise Killed
        write(self, stage, step, scalars)

    monkeypatch.setattr(loop.MetricsWriter, "write", killing)
    with pytest.raises(Killed):
        loop.train(two_stages(root), tmp_path)
    monkeypatch.setattr(loop.MetricsWriter, "write", write)
    loop.train(two_stages(root), tmp_path)

    assert figures(tmp_path) == figures(workdir)
    assert_same_weights(tmp_path, workdir)
    assert pictures(tmp_path) == pictures(workdir)


def test_a_picture_that_cannot_be_drawn_is_a_warning_after_the_save(
    finished, tmp_path, monkeypatch, capsys
):
    root, workdir, trainer = finished
    saved = []

    def fail(board, stage=None, step=0, *_, **__):
        if step:
            saved.append(step in [info["step"] for info in lines(tmp_path) if STALL in info])
        raise RuntimeError("no ink")

    monkeypatch.setattr(loop.TensorBoardPictures, "draw_start", fail)
    monkeypatch.setattr(loop.TensorBoardPictures, "draw_validation", fail)
    loop.train(two_stages(root), tmp_path)
    out = capsys.readouterr().out
    warning = "warning: a picture was not drawn (RuntimeError: no ink)\n"
    assert out.count(warning) == 1 + 3, "at the beginning, and after each validation"
    assert saved[0] and saved[-1] and figures(tmp_path) == figures(workdir)
    # The same sentence at every validation, by its glosses' names.
    names = " ".join(trainer.run.vocabulary.glosses(trainer.run.val.labels[0].tolist()))
    assert out.count(f"\nval_00  reference   {names}\n        hypothesis  ") == 3


def test_the_last_save_that_took_too_long_is_made_once_more(
    finished, tmp_path, monkeypatch, capsys
):
    root, workdir, trainer = finished
    last = sum(len(s.plans) for s in trainer.run.stages)
    settle, left = store.Checkpoints._settle, ["last"]

    class TooLong:
        def result(self):
            raise TimeoutError("the clock leapt")

    def settle_late(self, **last_try):
        if self._saving is not None:
            self._saving.result()
            if left and self.latest_step == last:
                left.pop(0)
                shutil.rmtree(self.path(self.latest_step))
                self._saving = TooLong()
        return settle(self, **last_try)

    monkeypatch.setattr(store.Checkpoints, "_settle", settle_late)
    loop.train(two_stages(root), tmp_path)
    assert not left
    assert capsys.readouterr().out.count("; trying once more\n") == 1
    assert_same_weights(tmp_path, workdir)


def test_another_config_in_the_workdir_is_refused_by_name(finished, tmp_path):
    root, workdir, _ = finished
    config = two_stages(root)
    config.training.seed = 7
    config.model.encoder.num_layers = 2
    before = sorted(path.name for path in workdir.rglob("*"))
    with pytest.raises(WSignError, match="belongs to a run with other settings") as error:
        loop.train(config, workdir)
    assert "config.training.seed: was 42, is 7" in str(error.value)
    assert "encoder/blocks/mlp/up/kernel: (1, 128, 512) there, (2, 128, 512) here" in str(
        error.value
    )
    assert sorted(path.name for path in workdir.rglob("*")) == before


def test_another_device_goes_on_in_its_own_precision(finished, tmp_path, capsys):
    """Parameters are float32 in any case; a loss scale is for float16 alone."""
    root, workdir, _ = finished
    config = two_stages(root)

    def resumed(precision, workdir):
        config.training.precision = precision
        run = prepare_run(config, workdir)
        capsys.readouterr()
        state = resume.resume(run, store.Checkpoints(workdir), None).state
        return state.loss_scale, capsys.readouterr().out

    scale, said = resumed("float16", workdir)
    assert float(scale.scale) == config.training.loss_scale
    assert said == "config.training.precision: was float32, is float16 from here on\n"
    config.stages, config.training.max_steps = ("stage1",), 1
    loop.train(config, tmp_path)
    assert resumed("auto", tmp_path) == (
        None,
        "config.training.precision: was float16, is float32 from here on\n",
    )


def test_changed_training_data_is_refused(finished, tmp_path):
    root, workdir, _ = finished
    changed = tmp_path / "processed"
    shutil.copytree(root, changed)
    np.save(changed / "train" / "labels" / "train_00.npy", np.array([5, 5]))
    with pytest.raises(WSignError, match="the training data changed since"):
        loop.train(two_stages(changed), workdir)


def test_a_mirror_of_another_run_is_refused_and_left_alone(finished, tmp_path):
    root, workdir, _ = finished
    config = two_stages(root)
    config.training.seed, config.checkpoint.mirror = 7, str(tmp_path / "mirror")
    shutil.copytree(workdir, tmp_path / "mirror")
    before = sorted((tmp_path / "mirror").rglob("*"))
    with pytest.raises(
        WSignError, match=r"mirror/checkpoints/.* belongs to a run with other settings"
    ):
        loop.train(config, tmp_path / "work")
    assert sorted((tmp_path / "mirror").rglob("*")) == before
    assert not (tmp_path / "work" / "checkpoints").exists()


def test_starting_over_leaves_what_is_there_alone(finished, tmp_path, capsys):
    root, workdir, _ = finished
    work = tmp_path / "work"
    shutil.copytree(workdir, work)
    config = two_stages(root)
    assert resume.start_over(config, work) == [
        f"--workdir={work / 'restart_1'}",
        "--config.restart=False",
    ]
    config.checkpoint.mirror = "/drive/run"
    flags = resume.start_over(config, work)
    assert flags[0] == f"--workdir={work / 'restart_2'}"
    assert flags[2] == "--config.checkpoint.mirror=/drive/run_restart_2"
    assert "starting over in" in capsys.readouterr().out
    assert figures(work) == figures(workdir)
    # The run of the stage before is looked for beside the run, not beside the sub-folder.
    shutil.copytree(workdir, tmp_path / "stage1")
    config.init_from, config.stages = "auto", ("stage2",)
    initial_params(config, work / "restart_1")
    assert str(tmp_path / "stage1") in started_from(capsys)


def started_from(capsys):
    return re.search(r"starting from (.*)", capsys.readouterr().out)[1]


def initial_params(config, workdir):
    return initial_weights.initial_params(prepare_run(config, workdir))()


def test_init_from_takes_the_best_weights_of_a_run(finished, tmp_path, capsys):
    root, workdir, _ = finished
    config = two_stages(root)
    config.init_from = str(workdir)
    params = initial_params(config, tmp_path)
    theirs = store.Checkpoints(workdir)
    assert started_from(capsys) == f"the weights of {theirs.path(theirs.best_step)}"
    expected = theirs.restore_weights(theirs.best_step, params)
    np.testing.assert_array_equal(params["ctc_head"]["kernel"], expected["ctc_head"]["kernel"])


def test_init_from_auto_looks_for_the_stage_before_beside_the_workdir(finished, tmp_path, capsys):
    root, workdir, _ = finished
    config = two_stages(root)
    config.init_from, config.stages = "auto", ("stage2",)
    initial_params(config, tmp_path / "stage2")
    out = capsys.readouterr().out
    assert f"there is no stage1 run in {tmp_path / 'stage1'}" in out
    assert "starting from fresh weights" in out
    shutil.copytree(workdir, tmp_path / "stage1")
    initial_params(config, tmp_path / "stage2")
    assert str(tmp_path / "stage1") in started_from(capsys)


def test_init_from_nothing_or_another_shape_is_refused(finished, tmp_path):
    root, workdir, _ = finished
    config = two_stages(root)
    config.init_from = str(tmp_path / "nowhere")
    with pytest.raises(WSignError, match=r"config.init_from: .*nowhere holds no checkpoint"):
        initial_params(config, tmp_path / "a")
    config.init_from = str(workdir)
    config.model.decoder.num_layers = 2
    with pytest.raises(WSignError, match=r"decoder/blocks/.*: \(1, 128\) there, \(2, 128\) here"):
        initial_params(config, tmp_path / "b")


def test_numbers_that_are_none_stop_the_run_and_are_not_saved(finished, tmp_path):
    root, _, _ = finished
    config = two_stages(root)
    config.stages = ("stage2",)
    config.stage2.epochs, config.stage2.lr, config.stage2.weight_decay = 6, 1e3, 1e3
    config.training.warmup_steps = 0
    config.checkpoint.every_steps = 1
    with pytest.raises(
        DivergedError, match=r"the loss is .* at step \d+ of stage2; batch: "
    ) as error:
        loop.train(config, tmp_path)
    step = int(re.search(r"at step (\d+)", str(error.value))[1])
    assert re.search(r"batch: train_\d\d, train_\d\d", str(error.value))
    saved = re.search(r"last good checkpoint: (\S+);", str(error.value))[1]
    assert saved == str(tmp_path / "checkpoints" / str(step - 1))
    weights = store.Checkpoints(tmp_path).restore_weights(step - 1, make_network(config, 6).shapes)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))


def test_a_damaged_checkpoint_is_passed_over_and_kept(finished, tmp_path, capsys):
    root, workdir, _ = finished
    work = tmp_path / "work"
    shutil.copytree(workdir, work)
    *_, before, last = store.Checkpoints(workdir).steps
    shutil.rmtree(work / "checkpoints" / str(last) / "params")
    loop.train(two_stages(root), work)
    out = capsys.readouterr().out
    assert f"checkpoints/{last}: not a whole checkpoint" in out
    assert f"moved to {work / 'damaged' / str(last)}, going on from step {before}" in out
    assert (work / "damaged" / str(last) / "training").is_dir()
    assert figures(work) == figures(workdir)
    assert_same_weights(work, workdir)


def test_the_mirror_mends_what_is_damaged_at_home(finished, tmp_path, capsys):
    root, workdir, _ = finished
    work, mirror = tmp_path / "work", tmp_path / "mirror"
    for place in (work, mirror):
        shutil.copytree(workdir, place)
    for path in (work / "checkpoints").iterdir():
        shutil.rmtree(path / "params")
    config = two_stages(root)
    config.checkpoint.mirror = str(mirror)
    loop.train(config, work)
    last = store.Checkpoints(workdir).latest_step
    out = capsys.readouterr().out
    assert f"moved to {work / 'damaged' / str(last)}" in out and "nothing to train" in out
    assert_same_weights(work, workdir)


def test_nothing_is_started_over_where_every_checkpoint_is_damaged(finished, tmp_path):
    root, workdir, _ = finished
    work = tmp_path / "work"
    shutil.copytree(workdir, work)
    for path in (work / "checkpoints").iterdir():
        shutil.rmtree(path / "params")
    before = sorted(work.rglob("*"))
    with pytest.raises(WSignError, match="no whole checkpoint is left; start over in a new folder"):
        loop.train(two_stages(root), work)
    assert sorted(work.rglob("*")) == before


def test_weights_of_another_normalization_are_refused(finished, tmp_path):
    root, workdir, _ = finished
    config = two_stages(root)
    config.init_from, config.model.wrist_place = str(workdir), False
    with pytest.raises(WSignError, match=r"config.model.wrist_place is False, but"):
        initial_params(config, tmp_path)

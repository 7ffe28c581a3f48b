import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.conftest import config_of, promoting
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.decode.decoders import DECODERS
from wsign_jax.evaluate import decoder_settings, evaluate, trained_run
from wsign_jax.train import loop, validation

KEYS = {
    "wer", "substitutions", "deletions", "insertions", "ref_glosses", "hyp_glosses", "sentences",
    "blank_rate", "token_accuracy", "wer_interval", "sentence_accuracy", "warnings", "by_signer",
    "by_length", "by_gloss", "confusions", "segments", "calibration", "timing", "settings",
    "task", "measures",
}  # fmt: skip


@pytest.fixture
def run(trained_run):
    """A run's data, its folder, and its config."""
    root, workdir = trained_run
    return root, workdir, config_of(root)


def untimed(workdir):
    """A run's report but for what took how long; figures of floating point to four digits."""
    report = json.loads((workdir / "report_test.json").read_text())
    del report["timing"]
    return json.loads(json.dumps(report), parse_float=lambda text: round(float(text), 4))


def test_the_report_has_its_keys_and_adds_up(run, capsys):
    _, workdir, config = run
    evaluate.evaluate(config, workdir)
    report = json.loads((workdir / "report_test.json").read_text())
    assert report.keys() == KEYS
    about = report["settings"]
    assert about["split"] == "test" and about["decoder"] == "greedy" and report["sentences"] == 6
    errors = report["substitutions"] + report["deletions"] + report["insertions"]
    assert report["wer"] == pytest.approx(errors / report["ref_glosses"])
    assert (workdir / "checkpoints").as_posix() in about["checkpoint"]
    out = capsys.readouterr().out
    assert out.count("  reference   G") == 5 and out.count("  hypothesis") == 5


def test_evaluation_does_not_depend_on_batches_or_buckets(run):
    _, workdir, config = run
    reports = []
    for batch_size, buckets in ((4, 1), (1, 8)):
        config.eval.batch_size, config.data.max_buckets = batch_size, buckets
        evaluate.evaluate(config, workdir)
        reports.append(untimed(workdir))
    assert reports[0] == reports[1]


def test_the_mean_of_the_last_checkpoints_is_evaluated(run, tmp_path, capsys):
    _, _, config = run
    config = config.copy_and_resolve_references()
    config.checkpoint.every_steps = 1
    config.eval.average = 2
    work = tmp_path / "work"
    with promoting():
        loop.train(config, work)
    evaluate.evaluate(config, work)
    settings = untimed(work)["settings"]
    assert settings["checkpoint"] == f"{work / 'checkpoints' / '1'}, {work / 'checkpoints' / '2'}"
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
    assert report["settings"]["data"] == str(partial) and report["sentences"] == 6


def test_a_config_of_other_stages_evaluates_the_run_with_its_own(run):
    _, workdir, config = run
    config = config.copy_and_resolve_references()
    evaluate.evaluate(config, workdir)
    expected = untimed(workdir)
    config.stages = ("stage1", "stage3")
    config.model.size = "large"
    evaluate.evaluate(config, workdir)
    assert untimed(workdir) == expected


def test_evaluation_never_makes_data(run, tmp_path):
    _, workdir, config = run
    config = config.copy_and_resolve_references()
    config.data.dir = ""
    with pytest.raises(WSignError, match="no data set; name the one to use"):
        evaluate.evaluate(config, workdir)
    assert not (workdir / "data").exists()


def test_ids_may_differ_if_the_glosses_are_known(run, tmp_path):
    root, workdir, config = run
    changed = tmp_path / "data"
    shutil.copytree(root, changed)
    names = {"<blank>": 0, "G1": 2, "G2": 1, "G3": 3, "G4": 4, "G5": 5}
    layout.write_label_map(changed, names)
    config = config.copy_and_resolve_references()
    config.data.dir = str(changed)
    trained = trained_run.open_run(workdir)
    theirs, ours = (trained_run.read_split(trained, place, "test") for place in (root, changed))
    swapped = np.array([0, 2, 1, 3, 4, 5])
    for before, after in zip(theirs.labels, ours.labels, strict=True):
        np.testing.assert_array_equal(swapped[before], after)
    layout.write_label_map(changed, names | {"G6": 2} | {"G1": 6})
    with pytest.raises(WSignError, match="test: the model does not know 'G6'; leave these"):
        evaluate.evaluate(config, workdir)


def test_single_signs_rank_alike_in_the_report_and_in_validation(run, tmp_path, capsys):
    root, workdir, config = run
    signs = tmp_path / "data"
    shutil.copytree(root, signs)
    for number in range(6):  # the first is background
        layout.write_labels(signs, "test", f"test_0{number}", np.array([number][: number > 0]))
    config = config.copy_and_resolve_references()
    config.data.dir, config.eval.batch_size = str(signs), 4
    evaluate.evaluate(config, workdir)
    report = untimed(workdir)
    assert report["task"] == "single signs"
    assert 1 / 5 <= report["measures"]["mean_reciprocal_rank"] <= 1
    assert "test: top-1 accuracy " in capsys.readouterr().out
    opened = trained_run.open_run(workdir, config)
    split, network = trained_run.read_split(opened, signs, "test"), opened.network
    result = validation.evaluate(
        validation.make_eval_step(network, config, "single signs"),
        opened.params,
        split,
        validation.report_batches(config, split),
        validation.validation_settings(config, 0.5),
        network.mesh,
        "single signs",
    )
    assert result.measures == pytest.approx(report["measures"], abs=1e-4)
    assert result.scalars["val/top1"] == result.measures["top1"]


def sentences_by(run, decoder, **settings):
    """The test split decoded, with its report."""
    root, workdir, config = run
    opened = trained_run.open_run(workdir, config)
    split = trained_run.read_split(opened, root, "test")
    choice = dataclasses.replace(
        decoder_settings.default_settings(opened, decoder, "none", 4), **settings
    )
    return evaluate.evaluate_split(opened, root, split, choice)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_gives_whole_sentences(run, decoder):
    sentences, report = sentences_by(run, decoder, lm="2", lm_weight=0.3)
    assert [s.id for s in sentences] == [f"test_0{n}" for n in range(6)]
    for sentence in sentences:
        starts, ends = sentence.spans.T
        assert np.all(starts < ends) and np.all(starts[1:] >= ends[:-1] - 1e-9)
        assert np.all(ends <= sentence.patches * 4 / 60 + 1e-9)
        np.testing.assert_allclose(sentence.posteriors[:, 0], 1, atol=1)
        assert 0 <= sentence.blanks <= sentence.patches
    about = report["settings"]
    read = {
        "greedy": set(),
        "prefix_beam": {"lm_weight", "label_bonus"},
        "attention": {"lm_weight", "label_bonus"},
    }
    weights = {name for name in ("ctc_weight", "lm_weight", "label_bonus") if name in about}
    assert weights == read.get(decoder, {"ctc_weight", "lm_weight", "label_bonus"}), about
    assert ("beam_size" in about) == (decoder != "greedy")
    assert report["timing"]["programs"] == 1


def test_what_ctc_has_no_patches_for_shares_the_time_alike(run):
    """With a large bonus the attention decoder says more than there are patches."""
    sentences, _ = sentences_by(run, "attention", label_bonus=30.0)
    long = [s for s in sentences if len(s.hypothesis) > s.patches or not s.confidences.any()]
    assert long
    for sentence in long:
        np.testing.assert_allclose(np.diff(sentence.spans.ravel()[::2]), sentence.spans[0, 1])
        assert not sentence.confidences.any()


def test_confidences_are_calibrated_and_the_order_of_sentences_is_kept(run):
    (raw, _), (cooler, report) = (sentences_by(run, "greedy", temperature=t) for t in (1.0, 2.0))
    assert report["calibration"]["temperature"] == 2.0
    for a, b in zip(raw, cooler, strict=True):
        assert a.hypothesis == b.hypothesis
        np.testing.assert_allclose(
            np.log(b.confidences / (1 - b.confidences)),
            np.log(a.confidences / (1 - a.confidences)) / 2,
            rtol=1e-5,
        )


def test_signers_and_segments_are_read(run, tmp_path):
    root, workdir, config = run
    changed = tmp_path / "data"
    shutil.copytree(root, changed)
    (changed / "test" / "signers.csv").write_text(
        "id,signer\n" + "".join(f"test_0{n},S{n % 2}\n" for n in range(6))
    )
    (changed / "test" / "segments").mkdir()
    labels = np.load(changed / "test" / "labels" / "test_02.npy")
    rows = "".join(f"{id},{u},{u + 0.5}\n" for u, id in enumerate(labels))
    (changed / "test" / "segments" / "test_02.csv").write_text("gloss_id,start_s,end_s\n" + rows)
    config = config.copy_and_resolve_references()
    config.data.dir = str(changed)
    evaluate.evaluate(config, workdir)
    report = json.loads((workdir / "report_test.json").read_text())
    assert [row["signer"] for row in report["by_signer"]] == ["S0", "S1"]
    assert report["segments"]["signs"] == len(labels)


def test_no_place_for_the_report_is_said_first_and_a_full_disk_costs_no_figures(
    run, tmp_path, capsys, monkeypatch
):
    _, workdir, config = run
    work = tmp_path / "work"
    shutil.copytree(workdir, work, ignore=lambda folder, names: {"report_test.json"} & {*names})

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(evaluate.files, "write_json", full)
        with pytest.raises(OSError, match="No space left on device"):
            evaluate.evaluate(config, work)
    assert "test: WER " in capsys.readouterr().out
    (work / "report_test.json").mkdir()
    monkeypatch.setattr(evaluate, "evaluate_split", None)  # never called
    with pytest.raises(IsADirectoryError, match=r"report_test\.json"):
        evaluate.evaluate(config, work)

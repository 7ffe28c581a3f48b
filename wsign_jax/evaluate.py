"""From a run's best checkpoint, or the mean of its last ones, and a split to a report."""

import pathlib

from ml_collections import ConfigDict

from wsign_jax import config as config_lib
from wsign_jax import hosts
from wsign_jax.data import layout
from wsign_jax.data.vocab import Vocabulary, read_vocabulary
from wsign_jax.errors import WSignError
from wsign_jax.train import checkpoint, evaluation, setup

_SHOWN = 5  # references printed beside their hypotheses


def evaluate(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Evaluates the best checkpoint of a run, or the mean of its last `eval.average`, and writes
    `<workdir>/report_<split>.json`.

    The model and the normalisation are the run's own; `config` says which data and split, how to
    decode, and the attention window.

    Raises:
        WSignError: no run in `workdir`, another vocabulary, or bad data.
    """
    config_lib.check(config)
    if not checkpoint.has_checkpoint(workdir):
        raise WSignError(
            f"{workdir}: no checkpoint to evaluate; train one, or name another --workdir"
        )
    checkpoints = checkpoint.Checkpoints(workdir)
    steps = [checkpoints.best_step]
    if config.eval.average > 1:
        steps = checkpoints.last_of_its_stage(config.eval.average)
        if len(steps) < config.eval.average:
            print(
                f"config.eval.average: the last stage has only {len(steps)} checkpoints", flush=True
            )
    info = checkpoints.info(steps[-1])
    config = _with_run_settings(config, info)
    root = setup.data_root(config, workdir, make=False)
    setup.check_vocabulary(
        info.vocabulary, read_vocabulary(root, config.model.vocab_size), str(workdir)
    )
    split = setup.read_split(config, root, config.eval.split, len(info.vocabulary))
    network = setup.make_network(config, len(info.vocabulary))
    params = checkpoints.restore_average(steps, network.shapes)
    eval_step = evaluation.make_eval_step(network, config)
    alpha = info.config[info.config["stages"][info.stage]]["alpha"]
    result = evaluation.evaluate_split(config, split, eval_step, params, alpha, network)
    names = ", ".join(str(checkpoints.path(step)) for step in steps)
    report = {
        "wer": result.edits.wer,
        "substitutions": result.edits.substitutions,
        "deletions": result.edits.deletions,
        "insertions": result.edits.insertions,
        "ref_glosses": result.edits.ref_glosses,
        "sentences": result.sentences,
        "blank_rate": result.blank_rate,
        "token_accuracy": result.token_accuracy,
        "checkpoint": names,
        "data": str(root),
        "split": config.eval.split,
        "decoder": config.eval.decoder,
        "chunk": config.eval.chunk,
        "left_context": config.eval.left_context,
    }
    path = workdir / f"report_{config.eval.split}.json"
    if hosts.is_first():
        layout.write_json(path, report)
    _print_examples(split, result, info.vocabulary)
    print(f"evaluated {names} on {root}")
    print(
        f"{config.eval.split}: WER {result.edits.wer:.4f} ({result.edits.substitutions} "
        f"substitutions, {result.edits.deletions} deletions, {result.edits.insertions} insertions "
        f"in {result.edits.ref_glosses} glosses of {result.sentences} sentences), "
        f"blank rate {result.blank_rate:.2f}\n{path}",
        flush=True,
    )


def _with_run_settings(config: ConfigDict, info: checkpoint.RunInfo) -> ConfigDict:
    """The config with the run's own model and normalisation, whatever was typed."""
    merged = config.copy_and_resolve_references()
    merged.unlock()
    merged.model = ConfigDict(info.config["model"])
    merged.data.wrist_place = info.config["data"]["wrist_place"]
    return merged


def _print_examples(
    split: layout.Split, result: evaluation.Evaluation, vocabulary: Vocabulary
) -> None:
    """The first sentences' references beside their hypotheses."""
    for example in sorted(result.hypotheses)[:_SHOWN]:
        print(split.ids[example])
        print("  reference   " + " ".join(vocabulary.glosses(split.labels[example])))
        print("  hypothesis  " + " ".join(vocabulary.glosses(result.hypotheses[example])))

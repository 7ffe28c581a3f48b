"""A trained run, opened for use: its weights, vocabulary, data and language models."""

import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.data.vocab import BLANK, Vocabulary, read_vocabulary, translate_labels
from wsign_jax.decode.decoders import DECODERS, NEED_ATTENTION
from wsign_jax.decode.lm import arpa, lookup, ngrams
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.model import whisper_sign
from wsign_jax.model.positions import check_window
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import config_schema
from wsign_jax.train.checkpoint import store
from wsign_jax.train.checkpoint.run_info import RunInfo
from wsign_jax.train.checkpoint.workdir import CHECKPOINTS, has_checkpoint
from wsign_jax.train.run import Network, make_network, read_checked_split

NO_LM = "none"
TUNED = "decoder.json"  # in a run's folder, written by `decoder_settings.write_tuned`


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's model with the weights to use."""

    workdir: pathlib.Path
    checkpoints: tuple[pathlib.Path, ...]  # the weights are theirs, or the mean of theirs
    info: RunInfo
    config: ConfigDict
    network: Network
    params: Params

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses it knows."""
        return self.info.vocabulary

    @property
    def data_root(self) -> pathlib.Path:
        """The data set that it was trained on, which may have moved."""
        return pathlib.Path(self.config.data.dir or self.workdir / "data")

    @property
    def patch_size(self) -> int:
        """Frames per patch."""
        return self.config.model.frontend.patch_size

    @property
    def alpha(self) -> float:
        """CTC's share of the loss it was trained with."""
        return self.info.config[self.info.config["stages"][self.info.stage]]["alpha"]

    @property
    def has_attention_decoder(self) -> bool:
        """Whether some stage has trained the attention decoder."""
        stages = self.info.config["stages"][: self.info.stage + 1]
        return any(self.info.config[stage]["alpha"] < 1 for stage in stages)

    @property
    def checkpoint_steps(self) -> str:
        """The steps of its checkpoints, for example '7500' or '7000, 7250, 7500'."""
        return ", ".join(path.name for path in self.checkpoints)

    def check_decoder(self, decoder: str) -> None:
        """Raises a `WSignError` if there is no such decoder, or this run has not trained it."""
        if decoder not in DECODERS:
            raise WSignError(f"decoder {decoder!r} is not one of {', '.join(DECODERS)}")
        if decoder in NEED_ATTENTION and not self.has_attention_decoder:
            raise WSignError(
                f"{self.workdir}: its attention decoder was never trained (alpha is 1 in all its "
                f"stages), so decoder {decoder!r} cannot be used; take 'prefix_beam', or train stage 2"
            )


def open_run(
    path: pathlib.Path,
    config: ConfigDict | None = None,
    average: int = 1,
    overrides: Mapping[str, Any] | None = None,
) -> Trained:
    """Opens a run with its best checkpoint, or with a certain one.

    Args:
        path: the run's folder, or the folder of one of its checkpoints.
        config: how to read data and compute, the run's own by default; the model and the normalization
            are always the run's.
        average: how many of the last stage's last checkpoints to average; 1 takes the best checkpoint.
        overrides: fields of `config` by their dotted names, for example 'data.dir' or 'eval.chunk'.

    Raises:
        WSignError: there is no such run or checkpoint, or it is damaged.
    """
    workdir, steps = path, []
    if path.parent.name == CHECKPOINTS and path.name.isdigit():
        workdir, steps = path.parent.parent, [int(path.name)]
    if not has_checkpoint(workdir) or (steps and not path.is_dir()):
        raise WSignError(f"{path}: no checkpoint in it; train one, or name another folder")
    checkpoints = store.Checkpoints(workdir)
    if not steps:
        for step in checkpoints.damaged:
            print(
                f"warning: {checkpoints.path(step)} is damaged; left out",
                file=sys.stderr,
                flush=True,
            )
        steps = [checkpoints.best_step]
        if average > 1:
            infos = {
                s: checkpoints.info(s) for s in checkpoints.steps if s not in checkpoints.damaged
            }
            newest = max(info.stage for info in infos.values())
            steps = [step for step, info in infos.items() if info.stage == newest][-average:]
            if len(steps) < average:
                print(
                    f"config.eval.average: the last stage has only {len(steps)} checkpoints",
                    flush=True,
                )
    info = checkpoints.info(steps[-1])
    config = (ConfigDict(info.config) if config is None else config).copy_and_resolve_references()
    config.unlock()
    config.update_from_flattened_dict(dict(overrides or {}))
    config.model = ConfigDict(info.config["model"])
    if config.data.get("replay"):  # an adaptation takes the length of the run that it adapts
        config.data.max_seq_length = info.config["data"]["max_seq_length"]
    network = make_network(config, len(info.vocabulary))
    params = checkpoints.restore_weights(steps[0], network.shapes)
    for step in steps[1:]:
        params = jax.tree.map(jnp.add, params, checkpoints.restore_weights(step, network.shapes))
    if len(steps) > 1:
        params = jax.tree.map(lambda x: x / len(steps), params)
    paths = tuple(checkpoints.path(step) for step in steps)
    return Trained(workdir, paths, info, config, network, params)


def make_untrained(config: ConfigDict, vocab_size: int) -> Trained:
    """A run with fresh weights, to measure time and memory, which do not depend on the weights."""
    names = (BLANK, *(f"GLOSS-{id}" for id in range(1, vocab_size)))
    info = RunInfo(
        stage=len(config.stages) - 1,
        next_batch=0,
        data="",
        config=config_schema.config_as_json(config),
        vocabulary=Vocabulary(names),
    )
    network = make_network(config, vocab_size)
    params = whisper_sign.init_params(config.model, network.shapes, config.training.seed)
    return Trained(pathlib.Path("untrained"), (), info, config, network, params)


def config_overrides(
    data: str | None, chunk: int | None, left_context: int | None
) -> dict[str, Any]:
    """Returns config fields for a data set and a window in patches; None leaves the run's own.

    Raises:
        WSignError: a size of the window is not a whole number, or is below 0.
    """
    chunk, left_context = check_window(chunk, left_context)
    fields = {"data.dir": data, "eval.chunk": chunk, "eval.left_context": left_context}
    return {name: value for name, value in fields.items() if value is not None}


def read_split(trained: Trained, root: pathlib.Path, name: str) -> layout.Split:
    """Reads a split for a run; its labels become the run's ids, by the glosses' names.

    Raises:
        WSignError: the data is bad, or has glosses that the run does not know.
    """
    return read_checked_split(trained.config, root, name, trained.vocabulary)


def language_model(trained: Trained, lm: str, root: pathlib.Path) -> LanguageModel | None:
    """Returns a language model for a run; None for 'none'.

    `lm` is 'none', the order of one to fit to the training labels at `root`, or an ARPA file. The one of
    this order that the run's decoders were tuned with is taken instead of a fresh one.

    Raises:
        WSignError: the file is missing, is bad, has glosses outside the vocabulary, or was replaced
            since the decoders were tuned with it; or there are no training labels.
    """
    if lm == NO_LM:
        return None
    if not lm.isdecimal():
        if pathlib.Path(lm).is_dir():
            raise WSignError(f"a language model {lm!r}; give 1 to 9, an ARPA file, or 'none'")
        return lookup.prepare_lm(arpa.read_arpa(pathlib.Path(lm), trained.vocabulary))
    _check_order(lm)
    if tuned_lm_digest(trained, lm):
        return lookup.prepare_lm(arpa.read_arpa(lm_path(trained, lm), trained.vocabulary))
    return lookup.prepare_lm(fit_lm(trained, lm, root))


def fit_lm(trained: Trained, order: str, root: pathlib.Path) -> ngrams.NGrams:
    """Fits a language model to the training labels of a data set.

    Raises:
        WSignError: its order is not 1 to 9, or there are no training labels.
    """
    _check_order(order)
    ours, known = read_vocabulary(root, trained.config.model.vocab_size), trained.vocabulary
    read = layout.read_labels(root, "train", len(ours))
    labels = translate_labels(read, ours, known, str(root))
    return ngrams.estimate_ngrams([ids.tolist() for ids in labels], int(order), len(known))


def _check_order(order: str) -> None:
    if len(order) > 1 or order == "0":
        raise WSignError(
            f"a language model of order {order:.9}; give 1 to 9, an ARPA file, or 'none'"
        )


def lm_path(trained: Trained, order: str) -> pathlib.Path:
    """The file of the language model of this order that a run's decoders were tuned with."""
    return trained.workdir / f"lm_{order}.arpa"


def tuned_lm_digest(trained: Trained, order: str) -> str:
    """Returns the digest of the language model that decoders were tuned with; '' without one.

    Raises:
        WSignError: the file has changed since then.
    """
    path, tuned = lm_path(trained, order), trained.workdir / TUNED
    if not path.exists() or not tuned.exists():
        return ""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content = files.read_json(tuned)
    if "language_models" not in content:  # written by an earlier version
        return digest
    known = files.field(content, "language_models", str(tuned), dict)
    if order in known and known[order] != digest:
        raise WSignError(
            f"{path}: is not the one that {TUNED} was tuned with; run tools/tune_decoder.py again, or "
            "move it away"
        )
    return digest if order in known else ""

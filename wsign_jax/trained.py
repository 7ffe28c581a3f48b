"""A trained run, opened to be used: its weights, vocabulary, and how its decoders were tuned.

`<run>/decoder.json` is what tuning on the validation split chose (`tune.py` writes it):

    {"checkpoint": "...", "data": "...", "split": "val", "sentences": 100,
     "choices": [{"decoder": "prefix_beam", "lm": "2", "beam_size": 10, "ctc": 0.5, "lm_weight": 0.4,
                  "bonus": 0.8, "wer": 0.05, "temperature": 1.3}, ...]}

A language model fitted for it lies beside it as `lm_<order>.arpa`.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from wsign_jax.data import layout
from wsign_jax.data.vocab import Vocabulary, read_vocabulary
from wsign_jax.decode import arpa, confidence, lm, ngrams
from wsign_jax.decode.decoders import DECODERS, NEED_ATTENTION, Search
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.lm import LanguageModel
from wsign_jax.errors import WSignError
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import checkpoint, setup
from wsign_jax.train.setup import Network

TUNED = "decoder.json"
NO_LM = "none"
# Before anything is tuned: a little language model, and no bonus.
_UNTUNED: Mapping[str, Any] = {"ctc": 0.5, "lm_weight": 0.3, "bonus": 0.0, "temperature": 1.0}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's model with the weights to use."""

    workdir: pathlib.Path
    checkpoints: tuple[pathlib.Path, ...]  # whose weights, or the mean of whose weights, these are
    info: checkpoint.RunInfo
    config: ConfigDict
    network: Network
    params: Params

    @property
    def vocabulary(self) -> Vocabulary:
        """The glosses it knows."""
        return self.info.vocabulary

    @property
    def patch_size(self) -> int:
        """Frames a patch."""
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

    def check_decoder(self, decoder: str) -> None:
        """Raises a `WSignError` where a decoder needs what this run has not trained."""
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
    """Opens a run with its best checkpoint, or a certain one.

    Args:
        path: the run's folder, or that of one of its checkpoints.
        config: how to read data and compute, the run's own by default; the model and the normalisation
            are always the run's.
        average: take the mean of the last so many checkpoints of the last stage instead of the best.
        overrides: fields of `config` by their dotted names, such as 'data.dir' and 'eval.chunk'.

    Raises:
        WSignError: there is no such run or checkpoint, or it is damaged.
    """
    workdir, steps = path, []
    if path.parent.name == checkpoint.FOLDER and path.name.isdigit():
        workdir, steps = path.parent.parent, [int(path.name)]
    if not checkpoint.has_checkpoint(workdir) or (steps and not path.is_dir()):
        raise WSignError(f"{path}: no checkpoint to evaluate; train one, or name another folder")
    checkpoints = checkpoint.Checkpoints(workdir)
    if not steps:
        steps = [checkpoints.best_step]
        if average > 1:
            steps = checkpoints.last_of_its_stage(average)
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
    config.data.wrist_place = info.config["data"]["wrist_place"]
    network = setup.make_network(config, len(info.vocabulary))
    params = checkpoints.restore_average(steps, network.shapes)
    paths = tuple(checkpoints.path(step) for step in steps)
    return Trained(workdir, paths, info, config, network, params)


def overrides(data: str | None, chunk: int, left_context: int) -> dict[str, Any]:
    """What to use a run on, as fields of its config: a data set, if not its own; a window in patches.

    Raises:
        WSignError: the window is below 0.
    """
    for name, value in (("chunk", chunk), ("left_context", left_context)):
        if value < 0:
            raise WSignError(f"{name} is {value}; give patches, 0 or more")
    fields: dict[str, Any] = {"eval.chunk": chunk, "eval.left_context": left_context}
    return fields if data is None else fields | {"data.dir": data}


def read_split(trained: Trained, root: pathlib.Path, name: str) -> layout.Split:
    """Reads a split for a run.

    Raises:
        WSignError: bad data, or its vocabulary is not the run's.
    """
    ours = read_vocabulary(root, trained.config.model.vocab_size)
    setup.check_vocabulary(trained.vocabulary, ours, str(root))
    return setup.read_split(trained.config, root, name, len(ours))


def language_model(
    trained: Trained, choice: str, root: pathlib.Path, refit: bool = False
) -> LanguageModel | None:
    """The language model of a choice.

    Args:
        trained: the run.
        choice: 'none', the order of one fitted from the training labels, or an ARPA file. A fitted one
            that is kept in the run's folder goes before a fresh one.
        root: the data set whose training labels to fit to.
        refit: fit it anew and keep it.

    Raises:
        WSignError: no such file, a bad one, glosses outside the vocabulary, no training labels.
    """
    if choice == NO_LM:
        return None
    if not choice.isdecimal():
        return lm.read_arpa(pathlib.Path(choice), trained.vocabulary)
    order = int(choice)
    if not 1 <= order <= 9:
        raise WSignError(f"a language model of order {order}; give 1 to 9, an ARPA file, or 'none'")
    kept = trained.workdir / f"lm_{order}.arpa"
    if kept.exists() and not refit:
        return lm.read_arpa(kept, trained.vocabulary)
    vocab_size = len(trained.vocabulary)
    labels = layout.read_labels(root, "train", vocab_size)
    levels = ngrams.estimate([ids.tolist() for ids in labels], order, vocab_size)
    if refit:
        kept.unlink(missing_ok=True)  # of an earlier tuning
        arpa.write(kept, levels, trained.vocabulary)
    return lm.from_levels(levels)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A decoder with all its settings; one row of `decoder.json`."""

    decoder: str
    lm: str  # as in `language_model`
    beam_size: int
    ctc: float
    lm_weight: float
    bonus: float
    temperature: float  # of the confidences
    wer: float | None = None  # on the validation split, where it was tuned

    def weighed(
        self, ctc: float | None = None, lm: float | None = None, bonus: float | None = None
    ) -> "Choice":
        """With other weights; None leaves one as it is."""
        given = {"ctc": ctc, "lm_weight": lm, "bonus": bonus}
        changes: dict[str, Any] = {name: x for name, x in given.items() if x is not None}
        for field, low, high in (("ctc", 0, 1), ("lm_weight", 0, 100), ("bonus", -100, 100)):
            if not low <= changes.get(field, low) <= high:
                named = {"ctc": "ctc_weight", "bonus": "label_bonus"}.get(field, field)
                raise WSignError(f"{named} is {changes[field]}; it must be from {low} to {high}")
        return dataclasses.replace(self, **changes)

    def check(self) -> None:
        """Raises a `ValueError` that names the first field that no tuned choice has."""
        ranges = {
            "ctc": (0, 1),
            "lm_weight": (0, 100),
            "bonus": (-100, 100),
            "temperature": (confidence.MIN_TEMPERATURE, confidence.MAX_TEMPERATURE),
            "beam_size": (1, math.inf),
            "wer": (0, math.inf),
        }
        fits = {
            "decoder": self.decoder in DECODERS,
            "lm": isinstance(self.lm, str),
            "beam_size": isinstance(self.beam_size, int),
        }
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits[field] = fits.get(field, True) and number and low <= value <= high
        for field, good in fits.items():
            if not good:
                raise ValueError(f"{field} is {getattr(self, field)!r}")

    @property
    def weighs(self) -> frozenset[str]:
        """The weights that make a difference: of ctc, lm, bonus."""
        return self.search.weighs - ({"lm"} if self.lm == NO_LM else set())

    @property
    def search(self) -> Search:
        """Its constants."""
        return Search(self.decoder, self.beam_size)

    @property
    def weights(self) -> Weights:
        """Its numbers."""
        return Weights(self.ctc, self.lm_weight if self.lm != NO_LM else 0.0, self.bonus)


def choose(trained: Trained, decoder: str, lm: str = "", beam_size: int = 0) -> Choice:
    """A decoder's settings: those it was tuned to, else the defaults.

    Args:
        trained: the run.
        decoder: one of `DECODERS`.
        lm: as in `language_model`; '' takes the one with which the decoder was tuned best, or none.
        beam_size: 0 takes the tuned one, or 10.

    Raises:
        WSignError: the run has no such decoder, or a broken `decoder.json`.
    """
    tuned = [
        choice
        for choice in read_tuned(trained)
        if choice.decoder == decoder
        and choice.lm == (lm or choice.lm)
        and choice.beam_size == (beam_size or choice.beam_size)
    ]
    default = untuned(trained, decoder, lm or NO_LM, beam_size or Search.beam_size)
    return min(tuned, key=lambda choice: (choice.wer, choice.lm != NO_LM), default=default)


def untuned(trained: Trained, decoder: str, lm: str, beam_size: int) -> Choice:
    """A decoder with the defaults; raises a `WSignError` where the run has none of its kind."""
    trained.check_decoder(decoder)
    if beam_size < 1:
        raise WSignError(f"a beam of {beam_size}; keep at least one hypothesis")
    return Choice(decoder, lm, beam_size, **_UNTUNED)


def read_tuned(trained: Trained) -> list[Choice]:
    """The rows of a run's `decoder.json`; none where there is no such file. Warns where it was tuned for
    other weights.

    Raises:
        WSignError: the file is broken.
    """
    path = trained.workdir / TUNED
    if not path.exists():
        return []
    content = layout.read_json(path)
    try:
        choices = [Choice(**row) for row in content["choices"]]
        tuned_on = content["checkpoint"]
        for choice in choices:
            choice.check()
    except (KeyError, TypeError, ValueError) as error:
        raise WSignError(
            f"{path}: not what tools/tune_decoder.py writes ({error}); run that again"
        ) from None
    if tuned_on != names(trained.checkpoints):
        print(
            f"warning: {path} was tuned for checkpoint {tuned_on}, and this is "
            f"{names(trained.checkpoints)}; tools/tune_decoder.py tunes anew",
            flush=True,
        )
    return choices


def write_tuned(
    trained: Trained, root: pathlib.Path, split: layout.Split, choices: Sequence[Choice]
) -> pathlib.Path:
    """Writes a run's `decoder.json`; what other decoders were tuned to for the same weights stays."""
    path = trained.workdir / TUNED
    if path.exists() and layout.read_json(path).get("checkpoint") == names(trained.checkpoints):
        new = {(choice.decoder, choice.lm, choice.beam_size) for choice in choices}
        kept = [c for c in read_tuned(trained) if (c.decoder, c.lm, c.beam_size) not in new]
        choices = [*kept, *choices]
    layout.write_json(
        path,
        {
            "checkpoint": names(trained.checkpoints),
            "data": str(root),
            "split": split.name,
            "sentences": len(split),
            "choices": [dataclasses.asdict(choice) for choice in choices],
        },
    )
    return path


def names(checkpoints: Sequence[pathlib.Path]) -> str:
    """Checkpoints' steps, as '7500' or '7000, 7250, 7500'."""
    return ", ".join(path.name for path in checkpoints)

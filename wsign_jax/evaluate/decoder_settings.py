"""The settings of a run's decoders, tuned on the validation split.

`<run>/decoder.json` holds what `tune.py` chose:

    {"tuned_on": "checkpoint 7500, full attention", "data": "...", "split": "val", "sentences": 100,
     "decoders": [{"decoder": "prefix_beam", "lm": "2", "beam_size": 10, "ctc_weight": 0.5,
                   "lm_weight": 0.4, "label_bonus": 0.8, "temperature": 1.3, "sign_start": -0.1,
                   "sign_end": 0.7, "wer": 0.05, "unknown_below": -21.5, "false_accepts": 0.04},
                  ...],
     "language_models": {"2": "<SHA-256>"}, "known_signs": "<SHA-256>"}

A language model fitted for it lies beside it as `lm_<order>.arpa`, with that digest; so does
`known_signs.npz`, which tells unknown signs.
"""

import dataclasses
import hashlib
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from wsign_jax.common import files
from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout
from wsign_jax.decode import confidence, unknown
from wsign_jax.decode.calibration import LONGEST_SIGN, Calibration
from wsign_jax.decode.decoders import DECODERS, GREEDY, LARGEST_BEAM, Search
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.lm import arpa
from wsign_jax.decode.lm.ngrams import NGrams
from wsign_jax.decode.unknown import KnownSigns, UnknownRule
from wsign_jax.evaluate.trained_run import NO_LM, TUNED, Trained, lm_path, tuned_lm_digest

_RANGES: Mapping[str, tuple[float, float]] = {
    "ctc_weight": (0, 1),
    "lm_weight": (0, 100),
    "label_bonus": (-100, 100),
    "temperature": (confidence.MIN_TEMPERATURE, confidence.MAX_TEMPERATURE),
    "sign_start": (-LONGEST_SIGN, LONGEST_SIGN),
    "sign_end": (-LONGEST_SIGN, LONGEST_SIGN),
    "beam_size": (1, LARGEST_BEAM),
    "wer": (0, math.inf),
    "unknown_below": (-1e9, 1e9),
    "false_accepts": (0, 1),
}
_OPTIONAL = {"sign_start", "sign_end", "unknown_below", "false_accepts"}


@dataclasses.dataclass(frozen=True)
class DecoderSettings:
    """A decoder with all its settings; one row of `decoder.json`."""

    decoder: str
    lm: str  # as in `language_model`
    beam_size: int
    ctc_weight: float = 0.5
    lm_weight: float = 0.3
    label_bonus: float = 0.0
    temperature: float = 1.0  # these three: see `Calibration`
    sign_start: float | None = None
    sign_end: float | None = None
    wer: float | None = None  # on the validation split, if it was tuned
    # A less familiar gloss is an unknown sign: 5 % of right glosses are, and all but this share of the
    # glosses that come out for others that are held out. None: no gloss was right.
    unknown_below: float | None = None
    false_accepts: float | None = None

    def with_weights(self, **weights: float | None) -> "DecoderSettings":
        """Returns these settings with other fields of `Weights`; None leaves a weight as it is.

        Raises:
            WSignError: a weight is out of range, or this decoder does not read it.
        """
        given: dict[str, Any] = {n: value for n, value in weights.items() if value is not None}
        for name, value in given.items():
            low, high = _RANGES[name]
            if not low <= value <= high:
                raise WSignError(f"{name} is {value}; it must be from {low} to {high}")
            if name not in self.weights_read:
                with_lm = f" with lm {self.lm!r}" if name == "lm_weight" else ""
                raise WSignError(f"decoder {self.decoder!r}{with_lm} reads no {name}; leave it out")
        return dataclasses.replace(self, **given)

    def check(self) -> None:
        """Raises a `ValueError` that names the first field whose value is not allowed."""
        fits = {
            "decoder": self.decoder in DECODERS,
            "lm": isinstance(self.lm, str),
            "beam_size": isinstance(self.beam_size, int),
        }
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = (number and low <= value <= high) or (field in _OPTIONAL and value is None)
            fits[field] = fits.get(field, True) and good
        if self.sign_start is not None and self.sign_end is not None and fits["sign_start"]:
            fits["sign_end"] = fits["sign_end"] and self.sign_start <= self.sign_end
        for field, good in fits.items():
            if not good:
                raise ValueError(f"{field} is {getattr(self, field)!r}")

    @property
    def weights_read(self) -> frozenset[str]:
        """The fields of `Weights` that make a difference."""
        return self.search.weights_read - ({"lm_weight"} if self.lm == NO_LM else set())

    @property
    def search(self) -> Search:
        """The constants of its search."""
        return Search(self.decoder, self.beam_size)

    @property
    def calibration(self) -> Calibration:
        """How sure its glosses are, and when they were signed."""
        return Calibration(self.temperature, self.sign_start, self.sign_end)

    @property
    def weights(self) -> Weights:
        """The weights of its scores; the language model's is 0 without one."""
        lm_weight = self.lm_weight if self.lm != NO_LM else 0.0
        return Weights(self.ctc_weight, lm_weight, self.label_bonus)


def choose_settings(
    trained: Trained, decoder: str, lm: str = "", beam_size: int = 0
) -> DecoderSettings:
    """Returns a decoder's settings: the tuned ones, otherwise the defaults.

    Args:
        trained: the run.
        decoder: one of `DECODERS`.
        lm: as in `language_model`; '' takes the one with which the decoder was tuned best, or 'none'.
        beam_size: 0 takes the tuned one, or 10.

    Raises:
        WSignError: the run has no such decoder, the decoder reads no language model, or
            `decoder.json` is broken.
    """
    default = default_settings(trained, decoder, lm or NO_LM, beam_size or Search.beam_size)
    if "lm_weight" not in default.search.weights_read and default.lm != NO_LM:
        raise WSignError(f"decoder {decoder!r} reads no language model; leave lm {lm!r} out")
    tuned = [
        row
        for row in read_tuned(trained)
        if row.decoder == decoder
        and row.lm == (lm or row.lm)
        # Greedy decoding has no beam, whatever it was tuned with.
        and (decoder == GREEDY or row.beam_size == (beam_size or row.beam_size))
    ]
    return min(tuned, key=lambda row: (row.wer, row.lm != NO_LM), default=default)


def default_settings(trained: Trained, decoder: str, lm: str, beam_size: int) -> DecoderSettings:
    """Returns a decoder with the default weights.

    Raises:
        WSignError: the run has no such decoder, or the beam size is out of range.
    """
    trained.check_decoder(decoder)
    if not 1 <= beam_size <= LARGEST_BEAM:
        raise WSignError(f"a beam of {beam_size}; keep 1 to {LARGEST_BEAM} hypotheses")
    return DecoderSettings(decoder, lm, beam_size)


def read_tuned(trained: Trained) -> list[DecoderSettings]:
    """Returns the rows of a run's `decoder.json`; an empty list if there is no such file.

    Warns if it was tuned for another checkpoint or attention window.

    Raises:
        WSignError: the file is broken.
    """
    path = trained.workdir / TUNED
    if not path.exists():
        return []
    content = files.read_json(path)
    try:
        rows = [DecoderSettings(**row) for row in content["decoders"]]
        tuned_on = files.check_line(files.field(content, "tuned_on", TUNED, str), "tuned_on")
        for row in rows:
            row.check()
    except (KeyError, TypeError, ValueError) as error:
        raise WSignError(
            f"{path}: not what tools/tune_decoder.py writes ({error}); delete it, and run that again"
        ) from None
    here = _tuned_on(trained)
    if tuned_on != here:
        print(
            f"warning: {path} was tuned on {tuned_on}, and this is {here}; "
            "tools/tune_decoder.py tunes anew",
            file=sys.stderr,
            flush=True,
        )
    return rows


def write_tuned(
    trained: Trained,
    root: pathlib.Path,
    split: layout.Split,
    tuned: Sequence[DecoderSettings],
    fitted: Mapping[str, NGrams] | None = None,
    known: KnownSigns | None = None,
) -> pathlib.Path:
    """Writes a run's `decoder.json`, and the language models and known signs that were fitted for it.

    They were tuned on the split of the data set at `root`. `fitted` is by `DecoderSettings.lm`. Earlier
    rows for the same model and window stay, unless their language model changes; they lose their
    threshold of unknown signs if the known signs change.
    """
    path = trained.workdir / TUNED
    earlier = files.read_json(path) if path.exists() else {}
    known_digest = str(earlier.get("known_signs", ""))
    before: dict[str, str] = {}
    kept: list[DecoderSettings] = []
    if earlier.get("tuned_on") == _tuned_on(trained):
        new = {(row.decoder, row.lm, row.beam_size) for row in tuned}
        rows = read_tuned(trained)
        kept = [row for row in rows if (row.decoder, row.lm, row.beam_size) not in new]
        before = {row.lm: _digest_before(trained, row.lm) for row in kept if row.lm.isdecimal()}
    digests = dict(before)
    for name, model in (fitted or {}).items():
        place = lm_path(trained, name)
        arpa.write_arpa(place, model, trained.vocabulary)
        digests[name] = hashlib.sha256(place.read_bytes()).hexdigest()
    stale = [row for row in kept if row.lm in before and before[row.lm] != digests[row.lm]]
    for row in stale:
        print(
            f"{row.decoder} was tuned with another language model {row.lm}: tune it anew",
            flush=True,
        )
    kept = [row for row in kept if row not in stale]

    def write(rows: Sequence[DecoderSettings], known_digest: str) -> None:
        content = {
            "tuned_on": _tuned_on(trained),
            "data": str(root),
            "split": split.name,
            "sentences": len(split),
            "decoders": [dataclasses.asdict(row) for row in rows],
            "language_models": {name: digest for name, digest in digests.items() if digest},
            "known_signs": known_digest,
        }
        files.write_json(path, content)

    if known is not None:
        content = unknown.to_bytes(known)
        digest = hashlib.sha256(content).hexdigest()
        if digest != known_digest:
            kept = [_without_threshold(row) for row in kept]
            # If it is killed between the two files, the run tells no unknown signs, and works.
            write([*kept, *map(_without_threshold, tuned)], "")
        files.write(trained.workdir / unknown.KNOWN_SIGNS, content)
        known_digest = digest
    write([*kept, *tuned], known_digest)
    return path


def read_known(trained: Trained) -> KnownSigns | None:
    """Returns the known signs that a run's decoders were tuned with; None without any.

    Raises:
        WSignError: the file is damaged, or was replaced since.
    """
    path, tuned = trained.workdir / unknown.KNOWN_SIGNS, trained.workdir / TUNED
    if not path.exists() or not tuned.exists():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != files.read_json(tuned).get("known_signs"):
        raise WSignError(
            f"{path}: is not the one that {TUNED} was tuned with; run tools/tune_decoder.py again, or "
            "move it away"
        )
    return unknown.from_bytes(content, len(trained.vocabulary), str(path))


def unknown_rule(trained: Trained, settings: DecoderSettings) -> UnknownRule | None:
    """Returns the rule that tells a decoder's unknown signs; None if it was not tuned.

    Raises:
        WSignError: as in `read_known`.
    """
    if settings.unknown_below is None or (known := read_known(trained)) is None:
        return None
    return UnknownRule(known.own, settings.unknown_below)


def _without_threshold(row: DecoderSettings) -> DecoderSettings:
    return dataclasses.replace(row, unknown_below=None, false_accepts=None)


def _digest_before(trained: Trained, lm: str) -> str:
    """The digest of a kept language model; '' if it is gone or was replaced."""
    try:
        return tuned_lm_digest(trained, lm)
    except WSignError:
        return ""


def _tuned_on(trained: Trained) -> str:
    """Names the checkpoint and the attention window, on which the best weights depend."""
    window = trained.config.eval
    attention = (
        f"chunks of {window.chunk} patches, {window.left_context} behind"
        if window.chunk
        else "full attention"
    )
    return f"checkpoint {trained.checkpoint_steps}, {attention}"

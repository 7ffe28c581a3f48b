"""Chooses a run's decoder weights on a validation split."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from wsign_jax.data import layout
from wsign_jax.decode import confidence
from wsign_jax.decode.calibration import fit_sign_times
from wsign_jax.decode.decoders import GREEDY, Search
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.unknown import KnownSigns
from wsign_jax.evaluate import evaluate, unknown_signs
from wsign_jax.evaluate.decoder_settings import DecoderSettings, default_settings
from wsign_jax.evaluate.evaluate import TimedFunction
from wsign_jax.evaluate.trained_run import NO_LM, Trained
from wsign_jax.report.metrics import EditCounts
from wsign_jax.report.sentences import Sentence
from wsign_jax.train import validation
from wsign_jax.train.validation import EncodedBatch

# Values tried for each weight. Language model and bonus go together, since one makes up for the other.
GRIDS = {
    "ctc_weight": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "lm_weight": (0.0, 0.1, 0.2, 0.3, 0.5, 0.8),
    "label_bonus": (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
}
_TOGETHER = (("ctc_weight",), ("lm_weight", "label_bonus"))
_ROUNDS = 3  # at most, through all groups
_FALSE_REJECTS = 0.05  # share of right glosses that may be taken for unknown signs


def tune(
    trained: Trained,
    split: layout.Split,
    starts: Sequence[DecoderSettings],
    language_models: dict[str, LanguageModel | None],
    report: Callable[[DecoderSettings, str], None],
) -> tuple[list[DecoderSettings], KnownSigns]:
    """Tunes decoders on a validation split; returns their settings, and what tells unknown signs.

    Each of `starts` is a decoder with the weights to begin with; the ones without a language model come
    first. Language models are by `DecoderSettings.lm`. `report` gets every result and a remark.
    """
    encode = TimedFunction(validation.make_encode_step(trained.network))
    encoded = list(evaluate.encode_split(trained, split, encode))
    known = _Known(trained, split, encoded)
    tuned: list[DecoderSettings] = []
    for start in starts:
        search = TimedFunction(evaluate.make_search(trained, start))
        attempt = _Attempts(trained, split, encoded, search, language_models[start.lm], known)
        found = [_climb(begin, attempt) for begin in _begins(start, tuned)]
        settings = min(found, key=attempt.wer)
        settings = attempt.calibrated(settings)
        tuned.append(settings)
        report(settings, f"{attempt.count} settings tried, {search.seconds:.0f} s")
    return tuned, known.signs


class _Known:
    """The rule for unknown signs: fitted to greedy decoding with all glosses, and without a third."""

    def __init__(self, trained: Trained, split: layout.Split, encoded: Sequence[EncodedBatch]):
        settings = default_settings(trained, GREEDY, NO_LM, Search.beam_size)
        search = TimedFunction(evaluate.make_search(trained, settings))
        self.without = [unknown_signs.hold_out(batch) for batch in encoded]
        self.spans, held_out = (
            evaluate.found_spans(found, evaluate.to_sentences(trained, split, found))
            for found in (
                evaluate.search_all(trained, batches, search, settings, None)
                for batches in (encoded, self.without)
            )
        )
        self.signs = KnownSigns(unknown_signs.fit(self.spans), unknown_signs.fit(held_out))


class _Attempts:
    """Error rates of one decoder under different weights."""

    def __init__(
        self,
        trained: Trained,
        split: layout.Split,
        encoded: Sequence[EncodedBatch],
        search: TimedFunction,
        lm: LanguageModel | None,
        known: _Known,
    ):
        self._trained, self._split, self._encoded = trained, split, encoded
        self._search, self._lm, self._known_signs = search, lm, known
        self._known: dict[tuple[float, float, float], float] = {}

    @property
    def count(self) -> int:
        """The number of different weights tried."""
        return len(self._known)

    def wer(self, settings: DecoderSettings) -> float:
        """The error rate with some weights."""
        key = (settings.ctc_weight, settings.lm_weight, settings.label_bonus)
        if key not in self._known:
            _, sentences = self._decode(settings, self._encoded)
            self._known[key] = sum((s.counts for s in sentences), EditCounts()).wer
        return self._known[key]

    def calibrated(self, settings: DecoderSettings) -> DecoderSettings:
        """Adds temperature of the confidences, times of signs and threshold of unknown signs.

        Impostors are wrong glosses where CTC may say every gloss but a third of them.
        """
        decoded, sentences = self._decode(settings, self._encoded)
        confidences, right = evaluate.confidences_and_truth(sentences)
        temperature = confidence.fit_temperature(confidences, right)
        times = _sign_times(sentences) or (None, None)
        settings = dataclasses.replace(
            settings, temperature=temperature, sign_start=times[0], sign_end=times[1]
        )
        spans = evaluate.found_spans(decoded, sentences)
        known = self._known_signs
        below = unknown_signs.find_threshold(known.spans, spans, sentences, _FALSE_REJECTS)
        if below is None:
            return settings
        others = evaluate.found_spans(*self._decode(settings, known.without))
        impostors = others.only(~others.right)
        scores = known.signs.held_out.scores(impostors.vectors, impostors.ids)
        return dataclasses.replace(
            settings,
            unknown_below=below,
            false_accepts=float(np.mean(scores >= below)) if len(scores) else None,
        )

    def _decode(
        self, settings: DecoderSettings, encoded: Sequence[EncodedBatch]
    ) -> tuple[list[evaluate.DecodedBatch], list[Sentence]]:
        run = self._trained
        decoded = evaluate.search_all(run, encoded, self._search, settings, self._lm)
        return decoded, evaluate.to_sentences(run, self._split, decoded)


def _sign_times(sentences: Sequence[Sentence]) -> tuple[float, float] | None:
    """Returns when signs begin and end after CTC's first patch; None if no true times are known."""
    found, true = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for sentence in sentences:
        if sentence.segments is not None:
            rows = [(e.hypothesis, e.reference) for e in sentence.edits if e.kind == "C"]
            mine, theirs = np.array(rows, np.int64).reshape(-1, 2).T
            found.append(sentence.spans[mine])
            true.append(sentence.segments[theirs])
    return fit_sign_times(np.concatenate(found), np.concatenate(true))


def _begins(start: DecoderSettings, tuned: Sequence[DecoderSettings]) -> list[DecoderSettings]:
    """The settings to climb from.

    With a language model, the end of the same search without one is a start too. A language model of
    weight 0 changes no score, so that on validation the search is never worse with one than without.
    """
    ends = [
        dataclasses.replace(
            start, ctc_weight=other.ctc_weight, lm_weight=0.0, label_bonus=other.label_bonus
        )
        for other in tuned
        if other.lm == NO_LM and other.search == start.search and "lm_weight" in start.weights_read
    ]
    return [*ends, start]


def _climb(settings: DecoderSettings, attempt: _Attempts) -> DecoderSettings:
    """Improves weights, group by group, until a round brings no better ones."""
    best = dataclasses.replace(settings, wer=attempt.wer(settings))
    for _ in range(_ROUNDS):
        before = best.wer
        for group in _TOGETHER:
            names = [name for name in group if name in settings.weights_read]
            if names:
                best = _best_of_grid(best, names, attempt)
        if best.wer == before:
            break
    return best


def _best_of_grid(
    settings: DecoderSettings, names: Sequence[str], attempt: _Attempts
) -> DecoderSettings:
    """The best of all combinations of some weights; the others stay as they are.

    Among equal ones it is the one whose neighbors in the grid are best. The middle of a plain has a
    better chance than its edge on sentences that it was not chosen on.
    """
    grids = [GRIDS[name] for name in names]
    options = [
        settings.with_weights(**dict(zip(names, values, strict=True)))
        for values in itertools.product(*grids)
    ]
    wers = np.array([attempt.wer(option) for option in options])
    grid = wers.reshape([len(values) for values in grids])
    around = [
        grid[tuple(slice(max(i - 1, 0), i + 2) for i in index)].mean()
        for index in np.ndindex(grid.shape)
    ]
    number = min(range(len(options)), key=lambda n: (wers[n], around[n]))
    return dataclasses.replace(options[number], wer=float(wers[number]))

"""Decodes a split with a trained run, and writes a report."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from wsign_jax.common import files
from wsign_jax.data import layout
from wsign_jax.data.vocab import BLANK_ID, Vocabulary
from wsign_jax.decode import align, confidence, ranking, unknown
from wsign_jax.decode.decoders import GREEDY, decode_and_align
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.evaluate.decoder_settings import DecoderSettings, choose_settings, read_known
from wsign_jax.evaluate.trained_run import Trained, language_model, open_run, read_split
from wsign_jax.evaluate.unknown_signs import Spans, hold_out
from wsign_jax.keypoints import joints
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.report import rejection, summary, tasks
from wsign_jax.report.sentences import Sentence
from wsign_jax.runtime import multihost
from wsign_jax.train import config_schema, sharding, validation
from wsign_jax.train.run import data_root, read_annotations
from wsign_jax.train.validation import EncodedBatch

_SHOWN = 5  # references printed beside their hypotheses


def evaluate(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Evaluates a run's best checkpoint, or the mean of its last `eval.average` checkpoints.

    Prints the figures, then writes `<workdir>/report_<split>.json`.
    The model and the normalization are the run's own; `config` says which data and split, how to
    decode, and the attention window.

    Raises:
        WSignError: there is no run in `workdir`, the vocabularies differ, the data is bad, or the report
            cannot be written.
    """
    config_schema.check_config(config)
    trained = open_run(workdir, config, config.eval.average)
    path = workdir / f"report_{config.eval.split}.json"
    with multihost.all_or_none():
        if multihost.is_first():
            files.check_writable(path)
    root = data_root(trained.config, workdir, make=False)
    split = read_split(trained, root, config.eval.split)
    settings = choose_settings(trained, config.eval.decoder, config.eval.lm, config.eval.beam_size)
    sentences, report = evaluate_split(trained, root, split, settings)
    print_examples(sentences, trained.vocabulary)
    print_summary(report)
    if multihost.is_first():
        files.write_json(path, report)
    print(path, flush=True)


def evaluate_split(
    trained: Trained, root: pathlib.Path, split: layout.Split, settings: DecoderSettings
) -> tuple[list[Sentence], dict[str, Any]]:
    """Decodes a split and summarizes the result.

    Returns:
        The sentences in the order of the split, and the content of `report.json`.
    """
    lm = language_model(trained, settings.lm, root)
    encode = TimedFunction(validation.make_encode_step(trained.network))
    search = TimedFunction(make_search(trained, settings))
    known = None if settings.unknown_below is None else read_known(trained)
    without: list[DecodedBatch] = []

    def encoded() -> Iterator[EncodedBatch]:
        for batch in encode_split(trained, split, encode):
            if known is not None:
                spent = search.seconds
                without.extend(search_all(trained, [hold_out(batch)], search, settings, lm))
                search.seconds = spent  # the time of the evaluation itself
            yield batch

    decoded = search_all(trained, encoded(), search, settings, lm)
    raw = to_sentences(trained, split, decoded)
    ranks, calibration = find_ranks(split, decoded, trained.vocabulary), settings.calibration
    sentences = [
        dataclasses.replace(
            sentence,
            confidences=calibration.confidences(sentence.confidences),
            spans=calibration.times(sentence.spans),
            rank=ranks.get(example),
        )
        for example, sentence in enumerate(raw)
    ]
    report = summary.summarize(
        sentences,
        trained.vocabulary,
        settings=_shown_settings(trained, root, split, settings),
        timing=_timing(encode, search, split),
        calibration=_calibration(raw, sentences, settings.temperature),
    )
    hits = sum(int(batch.encoded.hits[batch.encoded.example >= 0].sum()) for batch in decoded)
    # Every sentence has its end as a target too.
    targets = report["ref_glosses"] + report["sentences"]
    report["token_accuracy"] = hits / targets if trained.has_attention_decoder else None
    if known is not None and settings.unknown_below is not None:
        good = found_spans(decoded, raw)
        good = good.only(good.right)
        bad = found_spans(without, to_sentences(trained, split, without))
        bad = bad.only(~bad.right)
        report["unknown_signs"] = rejection.rejection_curve(
            known.own.scores(good.vectors, good.ids),
            known.held_out.scores(bad.vectors, bad.ids),
            settings.unknown_below,
        )
    return sentences, report


# ------------------------------------------------------------------------------- batches to results


class DecodedBatch(NamedTuple):
    """One batch after the search, on the host."""

    encoded: EncodedBatch  # without the states
    beams: Beams  # the best hypothesis of each row
    alignment: align.Alignment  # of that hypothesis


class TimedFunction:
    """A function that is compiled for every new shape of its arguments, with the seconds it took."""

    def __init__(self, step: Callable[..., Any]):
        self._step = jax.jit(step)
        self._compiled: dict[Any, Any] = {}
        self.seconds = self.compiling = 0.0

    @property
    def programs(self) -> int:
        """The number of compiled programs."""
        return len(self._compiled)

    def __call__(self, *arguments: Any) -> Any:
        """Returns the result once it is computed."""
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, tuple(jax.typeof(leaf) for leaf in leaves)
        begin = time.perf_counter()
        if key not in self._compiled:
            self._compiled[key] = self._step.lower(*arguments).compile()
            self.compiling += time.perf_counter() - begin
            begin = time.perf_counter()
        result = jax.block_until_ready(self._compiled[key](*arguments))
        self.seconds += time.perf_counter() - begin
        return result


def encode_split(
    trained: Trained, split: layout.Split, encode: TimedFunction
) -> Iterator[EncodedBatch]:
    """Encodes a split batch by batch, one compilation per bucket; the results stay on the devices.

    `encode` is from `validation.make_encode_step`. The attention window is that of the run's config.
    """
    settings = validation.validation_settings(trained.config, trained.alpha)
    for batch in validation.report_batches(trained.config, split):
        yield encode(trained.params, sharding.put_batch(batch, trained.network.mesh), settings)


def make_search(
    trained: Trained, settings: DecoderSettings
) -> Callable[[Params, EncodedBatch, Weights, LanguageModel | None], tuple[Beams, align.Alignment]]:
    """Makes a decoder, which finds each row's best hypothesis and its alignment to the patches."""
    everywhere = sharding.replicated(trained.network.mesh)

    def search(
        params: Params, encoded: EncodedBatch, weights: Weights, lm: LanguageModel | None
    ) -> tuple[Beams, align.Alignment]:
        whole = jax.lax.with_sharding_constraint(params, everywhere)
        model = whisper_sign.bind_params(trained.network.graph, whole)
        states, log_probs, patches = encoded.states, encoded.log_probs, encoded.patches
        return decode_and_align(settings.search, model, states, log_probs, patches, weights, lm)

    return search


def search_all(
    trained: Trained,
    batches: Iterable[EncodedBatch],
    search: TimedFunction,
    settings: DecoderSettings,
    lm: LanguageModel | None,
) -> list[DecodedBatch]:
    """Decodes batches with a function of `make_search`, and brings the results to the host."""
    weights, decoded = jax.tree.map(np.float32, settings.weights), []
    for encoded in batches:
        found = search(trained.params, encoded, weights, lm)
        light = encoded._replace(states=encoded.patches)  # the states are not needed any more
        decoded.append(DecodedBatch(*jax.device_get((light, *found))))
    return decoded


def to_sentences(
    trained: Trained, split: layout.Split, decoded: Sequence[DecodedBatch]
) -> list[Sentence]:
    """Turns decoded batches into sentences in the order of the split.

    Confidences and times are CTC's own.
    """
    annotations = read_annotations(trained.config, split)
    found: dict[int, Sentence] = {}
    for batch in decoded:
        for row in np.flatnonzero(batch.encoded.example >= 0):
            example = int(batch.encoded.example[row])
            reference = tuple(split.labels[example].tolist())
            found[example] = Sentence(
                id=split.ids[example],
                signer=annotations.signers.get(split.ids[example], ""),
                seconds=float(split.frames[example] / joints.FPS),
                reference=reference,
                segments=annotations.segments[example],
                **_found_in(batch, int(row), set(reference), trained.patch_size),
            )
    return [found[example] for example in range(len(split))]


def _found_in(
    batch: DecodedBatch, row: int, reference: set[int], patch_size: int
) -> dict[str, Any]:
    """The fields of a `Sentence` that come from a row of a decoded batch."""
    hypothesis, spans, confidences = timed_glosses(batch, row, patch_size)
    patches = int(batch.encoded.patches[row])
    log_probs = batch.encoded.log_probs[row, :patches]
    ids = (BLANK_ID, *sorted(reference | set(hypothesis)))
    return {
        "hypothesis": hypothesis,
        "spans": spans,
        "confidences": confidences,
        "patches": patches,
        "blanks": int(np.sum(log_probs.argmax(axis=-1) == BLANK_ID)),
        "posterior_ids": ids,
        "posteriors": np.exp(log_probs[:, ids]).astype(np.float16),
    }


def find_ranks(
    split: layout.Split, decoded: Iterable[DecodedBatch], vocabulary: Vocabulary
) -> dict[int, int]:
    """Returns the place of each single sign among all glosses, by its index into the split.

    It is CTC's, whatever the decoder. A split of another task has none.
    """
    if tasks.find_task(split.labels, vocabulary) != "single signs":
        return {}
    find, ranks = jax.jit(ranking.gloss_ranks), {}
    for batch in decoded:
        signs = [split.labels[example] for example in batch.encoded.example]
        glosses = np.array([sign[0] if len(sign) else BLANK_ID for sign in signs], np.int32)
        found = np.asarray(find(batch.encoded.log_probs, batch.encoded.patches, glosses))
        for row, example in enumerate(batch.encoded.example.tolist()):
            if example >= 0 and len(signs[row]):
                ranks[example] = int(found[row])
    return ranks


def timed_glosses(
    batch: DecodedBatch, row: int, patch_size: int
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Returns a row's hypothesis, its spans (U, 2) in seconds, and raw confidences (U,)."""
    length, patches = int(batch.beams.label_lengths[row, 0]), int(batch.encoded.patches[row])
    hypothesis = tuple(batch.beams.labels[row, 0, :length].tolist())
    spans, confidences = align.times_and_confidences(
        batch.alignment, row, length, patches, patch_size
    )
    return hypothesis, spans, confidences


def found_spans(decoded: Sequence[DecodedBatch], sentences: Sequence[Sentence]) -> Spans:
    """Returns the spans of all decoded glosses; `sentences` are those of `to_sentences`."""
    vectors: list[np.ndarray] = [np.empty(0)] * len(sentences)
    for batch in decoded:
        for row in np.flatnonzero(batch.encoded.example >= 0):
            length = int(batch.beams.label_lengths[row, 0])
            starts, ends = (np.asarray(x[row, :length]) for x in batch.alignment[:2])
            vectors[int(batch.encoded.example[row])] = unknown.span_vectors(
                np.asarray(batch.encoded.log_probs[row]), starts, ends
            )
    counts = [len(sentence.hypothesis) for sentence in sentences]
    return Spans(
        np.concatenate(vectors),
        np.concatenate([np.array(s.hypothesis, np.int64) for s in sentences]),
        confidences_and_truth(sentences)[1],
        np.repeat(np.arange(len(sentences)), counts),
    )


# ---------------------------------------------------------------------------------------- the report


def confidences_and_truth(sentences: Sequence[Sentence]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) confidences of all decoded glosses, and (n,) bool whether each is right."""
    confidences = [s.confidences for s in sentences]
    right = []
    for sentence in sentences:
        kinds = {edit.hypothesis: edit.kind for edit in sentence.edits}
        right.append(np.array([kinds[u] == "C" for u in range(len(sentence.hypothesis))], bool))
    return np.concatenate(confidences), np.concatenate(right)


def _calibration(
    raw: Sequence[Sentence], sentences: Sequence[Sentence], temperature: float
) -> dict[str, Any]:
    confidences, right = confidences_and_truth(sentences)
    return {
        "temperature": temperature,
        "expected_calibration_error": confidence.expected_calibration_error(confidences, right),
        "uncalibrated_error": confidence.expected_calibration_error(*confidences_and_truth(raw)),
        "bins": [
            {"confidence": mean, "accuracy": accuracy, "count": count}
            for count, mean, accuracy in zip(
                *confidence.reliability(confidences, right), strict=True
            )
        ],
    }


def _shown_settings(
    trained: Trained, root: pathlib.Path, split: layout.Split, settings: DecoderSettings
) -> dict[str, Any]:
    """The settings of the evaluation; of the decoder's, only the ones that it reads."""
    shown = {
        "checkpoint": ", ".join(map(str, trained.checkpoints)),
        "data": str(root),
        "split": split.name,
        "chunk": trained.config.eval.chunk,
        "left_context": trained.config.eval.left_context,
        "decoder": settings.decoder,
    }
    if settings.decoder != GREEDY:
        shown |= {"beam_size": settings.beam_size, "max_labels": settings.search.max_labels}
    if "lm_weight" in settings.weights_read:
        shown["lm"] = settings.lm
    return shown | {name: getattr(settings, name) for name in sorted(settings.weights_read)}


def _timing(encode: TimedFunction, search: TimedFunction, split: layout.Split) -> dict[str, Any]:
    """The times in seconds, with compiling apart; the real-time factor is per second of signing."""
    recorded = float(np.sum(split.frames, dtype=np.float64)) / joints.FPS
    return {
        "recorded_seconds": recorded,
        "encoding_seconds": encode.seconds,
        "decoding_seconds": search.seconds,
        "compiling_seconds": encode.compiling + search.compiling,
        "programs": search.programs,
        "decoding_ms_per_sentence": 1000 * search.seconds / len(split),
        "real_time_factor": (encode.seconds + search.seconds) / recorded,
    }


def print_examples(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> None:
    """Prints the first sentences' references and hypotheses."""
    for sentence in sentences[:_SHOWN]:
        print(sentence.id)
        print("  reference   " + " ".join(vocabulary.glosses(sentence.reference)))
        print("  hypothesis  " + " ".join(vocabulary.glosses(sentence.hypothesis)))


def print_summary(report: dict[str, Any]) -> None:
    """Prints what was evaluated, the warnings, and the figures in one line."""
    settings, (low, high) = report["settings"], report["wer_interval"]
    print(f"evaluated {settings['checkpoint']} on {settings['data']}")
    for warning in report["warnings"]:
        print(f"WARNING: {warning}")
    measures = tasks.measures_line(report["measures"])
    print(
        f"{settings['split']}: {measures + ', ' if measures else ''}WER {report['wer']:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f} "
        f"({report['substitutions']} substitutions, {report['deletions']} deletions, "
        f"{report['insertions']} insertions in {report['ref_glosses']} glosses of "
        f"{report['sentences']} sentences), blank rate {report['blank_rate']:.2f}, "
        f"decoder {settings['decoder']}",
        flush=True,
    )
    if against := report.get("against"):
        print(
            f"against {against['folder']}, WER {against['wer']:.4f}: {against['difference']:+.4f}, "
            f"95 % interval {against['low']:+.4f} to {against['high']:+.4f}; fewer errors in "
            f"{100 * against['a_better']:.0f} % of resamples",
            flush=True,
        )

"""Decoders of posteriors that arrive chunk by chunk; they report every gloss once, when it is stable.

A gloss is stable as soon as its run is over: CTC's best id of a chunk's last patch is the blank, or a
later gloss has begun. On composed ASL (100 validation sentences, chunks of 8 patches that see 64 before
them), longer waits change no greedy gloss and hardly any of prefix beam search: WER 0.089, or 0.087 if
nothing is stable before the sentence's end.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.align import align_labels
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.prefix_beam import IMPOSSIBLE, PrefixBeam, extend_beam, start_beam

if TYPE_CHECKING:
    from wsign_jax.decode.joint import Weights


class PatchRun(NamedTuple):
    """Neighboring patches with the same best id: a gloss of greedy decoding, unless it is the blank.

    The greedy path is the likeliest path of its glosses, so its spans and confidences are equal to
    those of `align_labels`.
    """

    id: int = BLANK_ID
    start: int = 0  # first patch
    end: int = 0  # patch after the last so far
    log_prob: float = 0.0  # the highest log posterior of the id in it


def extend_run(run: PatchRun, log_probs: np.ndarray, first: int) -> tuple[list[PatchRun], PatchRun]:
    """Takes the next (n, V) log posteriors, whose first patch has the number `first`.

    Returns:
        The glosses whose runs have ended, and the run that may go on.
    """
    ended = []
    best = log_probs.argmax(axis=-1)
    highest = np.take_along_axis(log_probs, best[:, None], axis=-1)[:, 0]
    for patch, (id, log_prob) in enumerate(
        zip(best.tolist(), highest.tolist(), strict=True), first
    ):
        if id == run.id:
            run = run._replace(end=patch + 1, log_prob=max(run.log_prob, log_prob))
        else:
            if run.id != BLANK_ID:
                ended.append(run)
            run = PatchRun(id, patch, patch + 1, log_prob)
    return ended, run


WINDOW = 48  # patches before a chunk in which a gloss that goes on may have begun
_LABELS = 32  # room in a hypothesis, in addition to one label per patch of the chunk


class StreamDecoder(Protocol):
    """A decoder whose state is passed in and out."""

    def start(self) -> Any:
        """Returns the state before the first patch; a state's `run` may go on, or is the blank's."""

    def extend(self, state: Any, log_probs: np.ndarray, first: int) -> tuple[list[PatchRun], Any]:
        """Takes the next (n, V) log posteriors, numbered from `first`; returns stable glosses, state."""

    def finish(self, state: Any) -> list[PatchRun]:
        """Returns the glosses that become stable because the stream ends."""


class GreedyStreamDecoder:
    """Takes the best id of every patch, with exactly the result of `ctc_greedy` on the whole."""

    def start(self) -> "GreedyState":
        """See `StreamDecoder`."""
        return GreedyState(PatchRun())

    def extend(
        self, state: "GreedyState", log_probs: np.ndarray, first: int
    ) -> tuple[list[PatchRun], "GreedyState"]:
        """See `StreamDecoder`."""
        ended, run = extend_run(state.run, log_probs, first)
        return ended, GreedyState(run)

    def finish(self, state: "GreedyState") -> list[PatchRun]:
        """See `StreamDecoder`."""
        return [state.run] if state.run.id != BLANK_ID else []


class GreedyState(NamedTuple):
    """The state of `GreedyStreamDecoder`: the run of the last patch."""

    run: PatchRun


class BeamState(NamedTuple):
    """The beam after some patches, and the patches in which its last gloss may lie."""

    run: PatchRun
    prefixes: PrefixBeam  # stable glosses are cut off, apart from the last of them
    cut: int  # 1 if there is such a last stable gloss, otherwise 0
    log_probs: np.ndarray  # (R, V) of the last patches
    end: int  # number of the patch after the last of them
    since: int  # number of the patch after the last stable gloss


class PrefixBeamDecoder:
    """CTC prefix beam search whose state is carried from chunk to chunk.

    Stable glosses are never taken back: hypotheses that do not begin with them are dropped.
    """

    def __init__(
        self,
        chunk: int,
        vocab_size: int,
        beam_size: int,
        weights: "Weights",
        lm: LanguageModel | None,
    ):
        """Makes a decoder for chunks of at most C patches; the rest as in `ctc_prefix_beam_search`."""
        self._chunk, self._vocab_size, self._beam_size = chunk, vocab_size, beam_size
        self._lm, self._weights = lm, jax.tree.map(jnp.float32, weights)

    def start(self) -> BeamState:
        """See `StreamDecoder`."""
        beam = start_beam(self._beam_size, self._chunk + _LABELS, self._lm)
        rows = np.full((self._chunk + WINDOW, self._vocab_size), -np.inf, np.float32)
        rows[:, BLANK_ID] = 0.0
        beam = jax.device_put(beam, jax.local_devices()[0])  # placed as a step's result is
        return BeamState(PatchRun(), beam, 0, rows, 0, 0)

    def extend(
        self, state: BeamState, log_probs: np.ndarray, first: int
    ) -> tuple[list[PatchRun], BeamState]:
        """See `StreamDecoder`."""
        if first > state.end:  # a pause was skipped: the patches before it are out of sight
            state = state._replace(log_probs=self.start().log_probs, since=0)
        rows = np.zeros((self._chunk, self._vocab_size), np.float32)
        rows[: len(log_probs)] = log_probs
        prefixes = _extend(state.prefixes, rows, np.int32(len(log_probs)), self._lm, self._weights)
        state = state._replace(
            prefixes=prefixes,
            log_probs=np.concatenate([state.log_probs, log_probs])[len(log_probs) :],
            end=first + len(log_probs),
        )
        goes_on = bool(len(log_probs)) and log_probs[-1].argmax() != BLANK_ID
        return self._settle(state, goes_on, at_end=False)

    def finish(self, state: BeamState) -> list[PatchRun]:
        """See `StreamDecoder`."""
        return self._settle(state, goes_on=False, at_end=True)[0]

    def _settle(
        self, state: BeamState, goes_on: bool, at_end: bool
    ) -> tuple[list[PatchRun], BeamState]:
        """Makes the best hypothesis stable, apart from its last gloss if that may go on."""
        labels, length = jax.device_get(
            _best(state.prefixes, self._lm, self._weights, np.bool_(at_end))
        )
        found = self._runs(state, labels, int(length))
        # A gloss that began before that would be lost from sight.
        goes_on = goes_on and bool(found) and found[-1].start > state.end - WINDOW
        stable, run = (found[:-1], found[-1]) if goes_on else (found, PatchRun())
        if not stable:
            return [], state._replace(run=run)
        count = state.cut + len(stable)
        prefixes = _cut(state.prefixes, labels, np.int32(count))
        return stable, state._replace(run=run, prefixes=prefixes, cut=1, since=stable[-1].end)

    def _runs(self, state: BeamState, labels: np.ndarray, length: int) -> list[PatchRun]:
        """Returns the hypothesis' glosses that are not stable yet, with their patches."""
        if length == state.cut:
            return []
        begin = max(state.since - 1, state.end - len(state.log_probs), 0)
        # A repeated gloss begins after a blank: the stable one is aligned too, if it is in sight.
        known = state.cut if begin == state.since - 1 else 0
        rows = np.zeros_like(state.log_probs)
        rows[: state.end - begin] = state.log_probs[len(rows) - (state.end - begin) :]
        wanted = labels[state.cut - known :]
        wanted = np.pad(wanted, (0, len(labels) - len(wanted)))[None]
        count = length - state.cut + known
        lengths = np.array([[state.end - begin], [count]], np.int32)
        found = jax.device_get(_align(rows[None], lengths[0], wanted, lengths[1]))
        starts, ends = begin + found.starts[0], begin + found.ends[0]
        log_probs = np.log(np.maximum(found.confidences[0], 1e-30))
        return [
            PatchRun(int(wanted[0, u]), int(starts[u]), int(ends[u]), float(log_probs[u]))
            for u in range(known, count)
        ]


_align = jax.jit(align_labels)


@jax.jit
def _extend(
    prefixes: PrefixBeam,
    log_probs: jax.Array,
    length: jax.Array,
    lm: LanguageModel | None,
    weights: "Weights",
) -> PrefixBeam:
    return extend_beam(prefixes, log_probs, length, lm, weights.lm_weight, weights.label_bonus)


@jax.jit
def _best(
    prefixes: PrefixBeam, lm: LanguageModel | None, weights: "Weights", at_end: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the (U,) labels of the best hypothesis, and its length."""
    score = prefixes.total + prefixes.prior
    if lm is not None:
        end = weights.lm_weight * lm.log_prob(prefixes.lm_state, jnp.int32(BLANK_ID))
        score += jnp.where(at_end, end, 0.0)
    best = jnp.argmax(score)
    return prefixes.labels[best], prefixes.lengths[best]


@jax.jit
def _cut(prefixes: PrefixBeam, labels: jax.Array, count: jax.Array) -> PrefixBeam:
    """Keeps the hypotheses that begin with the first `count` labels, and of these labels the last."""
    position = jnp.arange(prefixes.labels.shape[1], dtype=jnp.int32)[None]
    same = jnp.all((prefixes.labels == labels[None]) | (position >= count), axis=1)
    same &= prefixes.lengths >= count
    shifted = jnp.roll(prefixes.labels, 1 - count, axis=1)
    lengths = jnp.where(same, prefixes.lengths - count + 1, 0)
    # Only differences of scores count: with the best subtracted, they stay small for hours.
    most = jnp.max(jnp.where(same, prefixes.total, IMPOSSIBLE))
    prior = jnp.max(jnp.where(same, prefixes.prior, IMPOSSIBLE))
    return prefixes._replace(
        labels=jnp.where(position < lengths[:, None], shifted, 0),
        lengths=lengths,
        blank=jnp.where(same, jnp.maximum(prefixes.blank - most, IMPOSSIBLE), IMPOSSIBLE),
        gloss=jnp.where(same, jnp.maximum(prefixes.gloss - most, IMPOSSIBLE), IMPOSSIBLE),
        prior=jnp.where(same, prefixes.prior - prior, 0.0),
    )

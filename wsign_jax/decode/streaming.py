"""Decoders of posteriors that arrive chunk by chunk: they tell of every gloss once, when it is stable.

A gloss is stable as soon as its run is over: CTC's best id of a chunk's last patch is the blank, or a
later gloss has begun. Waiting for more was measured on composed ASL (100 validation sentences, chunks
of 8 patches that see 64 behind). It changes no greedy gloss, and hardly any of prefix beam search (WER
0.089, and 0.087 if nothing is stable before the sentence's end; greedy 0.091). But it takes time, the
median from a sign's true end being

    -0.43 s  its run is over              0.03 s  8 blanks follow
    -0.02 s  2 chunks agree on it         1.8 s   all of a beam of 10 agree on it
     0.43 s  3 chunks agree on it
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.align import align
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.prefix_beam import IMPOSSIBLE, PrefixBeam, extend_beam, start_beam


class Run(NamedTuple):
    """Neighboring patches with the same best id: a gloss of greedy decoding, unless it is the blank.

    The greedy path is the likeliest that spells its glosses, so these spans and confidences are those
    of `align`.
    """

    id: int = BLANK_ID
    start: int = 0  # first patch
    end: int = 0  # patch after the last so far
    log_prob: float = 0.0  # the highest of the id's log posteriors in it


def extend_run(run: Run, log_probs: np.ndarray, first: int) -> tuple[list[Run], Run]:
    """Takes the next patches.

    Args:
        run: the one that the patch before belongs to; `Run()` at the beginning.
        log_probs: (n, V) log posteriors.
        first: number of the first of them.

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
            run = Run(id, patch, patch + 1, log_prob)
    return ended, run


_WINDOW = 48  # patches before a chunk in which a gloss that goes on may have begun
_LABELS = 32  # of a hypothesis beyond one a patch of the chunk


class Decoder(Protocol):
    """A decoder; its state is passed in and out."""

    def start(self) -> Any:
        """The state before the first patch; `run` of a state is the gloss that may go on, or a blank."""

    def extend(self, state: Any, log_probs: np.ndarray, first: int) -> tuple[list[Run], Any]:
        """Takes the next (n, V) log posteriors, numbered from `first` -> new stable glosses, state."""

    def finish(self, state: Any) -> list[Run]:
        """The glosses that become stable where the stream ends."""


class Greedy:
    """The best id of every patch: exactly what `ctc_greedy` says of the whole."""

    def start(self) -> "GreedyState":
        """See `Decoder`."""
        return GreedyState(Run())

    def extend(
        self, state: "GreedyState", log_probs: np.ndarray, first: int
    ) -> tuple[list[Run], "GreedyState"]:
        """See `Decoder`."""
        ended, run = extend_run(state.run, log_probs, first)
        return ended, GreedyState(run)

    def finish(self, state: "GreedyState") -> list[Run]:
        """See `Decoder`."""
        return [state.run] if state.run.id != BLANK_ID else []


class GreedyState(NamedTuple):
    """CTC's prefix state."""

    run: Run


class BeamState(NamedTuple):
    """The beam after some patches, and the patches in which its last gloss may lie."""

    run: Run
    prefixes: PrefixBeam  # what is stable is cut off, but for its last gloss
    cut: int  # 1 if there is such a gloss, else 0
    log_probs: np.ndarray  # (R, V) of the last patches
    end: int  # number of the patch after the last of them
    since: int  # the patch in which the last stable gloss ended


class PrefixBeamDecoder:
    """CTC prefix beam search, its state carried from chunk to chunk; what is stable is never taken back.

    Hypotheses that do not begin with it are dropped.
    """

    def __init__(
        self,
        chunk: int,
        vocab_size: int,
        beam_size: int,
        weights: Weights,
        lm: LanguageModel | None,
    ):
        """For chunks of at most C patches; the rest as in `ctc_prefix_beam_search`."""
        self._chunk, self._vocab_size, self._beam_size = chunk, vocab_size, beam_size
        self._lm, self._weights = lm, Weights(*map(jnp.float32, weights))

    def start(self) -> BeamState:
        """See `Decoder`."""
        beam = start_beam(self._beam_size, self._chunk + _LABELS, self._lm)
        rows = np.full((self._chunk + _WINDOW, self._vocab_size), -np.inf, np.float32)
        rows[:, BLANK_ID] = 0.0
        beam = jax.device_put(beam, jax.local_devices()[0])  # as what a step returns
        return BeamState(Run(), beam, 0, rows, 0, 0)

    def extend(
        self, state: BeamState, log_probs: np.ndarray, first: int
    ) -> tuple[list[Run], BeamState]:
        """See `Decoder`."""
        if first > state.end:  # silence was passed over: what came before it is out of sight
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

    def finish(self, state: BeamState) -> list[Run]:
        """See `Decoder`."""
        return self._settle(state, goes_on=False, at_end=True)[0]

    def _settle(self, state: BeamState, goes_on: bool, at_end: bool) -> tuple[list[Run], BeamState]:
        """Makes the best hypothesis stable, but for its last gloss if that may go on."""
        labels, length = jax.device_get(
            _best(state.prefixes, self._lm, self._weights, np.bool_(at_end))
        )
        found = self._runs(state, labels, int(length))
        # A gloss that began so long ago would be lost from sight.
        goes_on = goes_on and bool(found) and found[-1].start > state.end - _WINDOW
        stable, run = (found[:-1], found[-1]) if goes_on else (found, Run())
        if not stable:
            return [], state._replace(run=run)
        count = state.cut + len(stable)
        prefixes = _cut(state.prefixes, labels, np.int32(count))
        return stable, state._replace(run=run, prefixes=prefixes, cut=1, since=stable[-1].end)

    def _runs(self, state: BeamState, labels: np.ndarray, length: int) -> list[Run]:
        """The hypothesis' glosses that are not stable yet, where they were signed."""
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
        return [
            Run(
                int(wanted[0, u]),
                begin + int(found.starts[0, u]),
                begin + int(found.ends[0, u]),
                float(np.log(max(found.confidences[0, u], 1e-30))),
            )
            for u in range(known, count)
        ]


_align = jax.jit(align)


@jax.jit
def _extend(
    prefixes: PrefixBeam,
    log_probs: jax.Array,
    length: jax.Array,
    lm: LanguageModel | None,
    weights: Weights,
) -> PrefixBeam:
    return extend_beam(prefixes, log_probs, length, lm, weights.lm, weights.bonus)


@jax.jit
def _best(
    prefixes: PrefixBeam, lm: LanguageModel | None, weights: Weights, at_end: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(U,) labels of the best hypothesis, and how many."""
    score = prefixes.total + prefixes.prior
    if lm is not None:
        end = weights.lm * lm.log_prob(prefixes.lm_state, jnp.int32(BLANK_ID))
        score += jnp.where(at_end, end, 0.0)
    best = jnp.argmax(score)
    return prefixes.labels[best], prefixes.lengths[best]


@jax.jit
def _cut(prefixes: PrefixBeam, labels: jax.Array, count: jax.Array) -> PrefixBeam:
    """The hypotheses that begin with the first `count` labels; all of these but the last are cut off."""
    position = jnp.arange(prefixes.labels.shape[1], dtype=jnp.int32)[None]
    same = jnp.all((prefixes.labels == labels[None]) | (position >= count), axis=1)
    same &= prefixes.lengths >= count
    shifted = jnp.roll(prefixes.labels, 1 - count, axis=1)
    lengths = jnp.where(same, prefixes.lengths - count + 1, 0)
    # Scores count against each other only: taken off the best, they stay small for hours.
    most = jnp.max(jnp.where(same, prefixes.total, IMPOSSIBLE))
    prior = jnp.max(jnp.where(same, prefixes.prior, IMPOSSIBLE))
    return prefixes._replace(
        labels=jnp.where(position < lengths[:, None], shifted, 0),
        lengths=lengths,
        blank=jnp.where(same, jnp.maximum(prefixes.blank - most, IMPOSSIBLE), IMPOSSIBLE),
        gloss=jnp.where(same, jnp.maximum(prefixes.gloss - most, IMPOSSIBLE), IMPOSSIBLE),
        prior=jnp.where(same, prefixes.prior - prior, 0.0),
    )

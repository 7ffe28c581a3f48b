"""Beam search with the attention decoder, alone or in one pass with CTC; rescoring of a beam.

The one-pass search is that of Watanabe et al. 2017 ("Hybrid CTC/Attention Architecture for End-to-End
Speech Recognition"). Hypotheses grow gloss by gloss. Each is scored by the attention decoder and by
CTC's probability of all sequences that begin with it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.prefix_beam import CANDIDATES, IMPOSSIBLE, Beams, ctc_log_prob, is_possible
from wsign_jax.decode.prefix_scores import Prefixes, PrefixScorer
from wsign_jax.model.decoder import Decoder, DecoderCache


class Weights(NamedTuple):
    """The weights of a score's parts; traced values, so that changing them does not compile again."""

    ctc_weight: jax.Array | float = 0.5  # CTC's share, 0 to 1; the rest is the attention decoder's
    lm_weight: jax.Array | float = 0.0  # the language model's, at least 0
    label_bonus: jax.Array | float = 0.0  # for every gloss

    def score(
        self, ctc: jax.Array, attention: jax.Array, lm: jax.Array, glosses: jax.Array
    ) -> jax.Array:
        """Returns the score for log probabilities and a number of glosses."""
        parts = self.ctc_weight * ctc + (1.0 - self.ctc_weight) * attention + self.lm_weight * lm
        return parts + self.label_bonus * glosses.astype(jnp.float32)


class _Search(NamedTuple):
    """The state of a search after `length` glosses; all hypotheses that may grow have that length."""

    length: jax.Array  # ()
    labels: jax.Array  # (B, K, U)
    last: jax.Array  # (B, K) last gloss, 0 at the start
    scores: jax.Array  # (B, K) upper bounds for all longer hypotheses, apart from `label_bonus`
    attention: jax.Array  # (B, K) log probability of the glosses so far
    lm: jax.Array  # (B, K) the same by the language model
    lm_state: jax.Array  # (B, K)
    prefixes: Prefixes | None  # None without CTC
    cache: DecoderCache
    ended: Beams  # the best hypotheses that have ended
    done: jax.Array  # (B,) whether nothing longer can enter `ended`


def joint_beam_search(
    decoder: Decoder,
    encoded: jax.Array,
    log_probs: jax.Array | None,
    patches: jax.Array,
    beam_size: int,
    max_labels: int,
    weights: Weights,
    lm: LanguageModel | None = None,
    limits: jax.Array | None = None,
) -> Beams:
    """Searches for the gloss sequences with the best score.

    The score is

        w log P_ctc + (1 - w) log P_attention + v log P_lm + label_bonus * glosses

    in which attention decoder and language model also count the end of the sentence. The search stops
    when nothing longer can enter the K best, so a wide enough beam is exact.

    Args:
        decoder: the attention decoder.
        encoded: (B, N, D) from the encoder.
        log_probs: (B, N, V) of CTC; None searches with the attention decoder alone, as w = 0 does.
        patches: (B,) valid patches.
        beam_size: K.
        max_labels: U, the longest hypothesis.
        weights: w, v and the bonus.
        lm: a language model over gloss ids.
        limits: (B,) the longest hypothesis of each row, at most U; U by default.
    """
    rows = encoded.shape[0]
    longest = jnp.full(rows, max_labels, jnp.int32) if limits is None else limits
    weights = Weights(*map(jnp.float32, weights))
    ctc = None
    if log_probs is None:
        weights = weights._replace(ctc_weight=jnp.float32(0.0))
    else:
        ctc = PrefixScorer.from_posteriors(log_probs, patches)
    scorers = _Scorers(decoder, ctc, lm, weights, longest)
    start = scorers.start(encoded, patches, beam_size, max_labels)

    def goes_on(search: _Search) -> jax.Array:
        return (search.length <= max_labels) & ~jnp.all(search.done)

    return jax.lax.while_loop(goes_on, scorers.step, start).ended


class _Grown(NamedTuple):
    """The C candidates to make each hypothesis one gloss longer; all (B, K, C)."""

    ids: jax.Array  # the gloss
    scores: jax.Array  # `IMPOSSIBLE` if the hypothesis cannot grow
    attention: jax.Array  # log probability of the glosses so far
    lm: jax.Array


class _Scorers(NamedTuple):
    """The parts that score hypotheses; they are the same in every step of a search."""

    decoder: Decoder
    ctc: PrefixScorer | None
    model: LanguageModel | None
    weights: Weights
    longest: jax.Array  # (B,) most glosses of a hypothesis

    def start(
        self, encoded: jax.Array, patches: jax.Array, beam_size: int, max_labels: int
    ) -> _Search:
        """Returns the search before the first gloss: one hypothesis per sentence, the empty one."""
        rows = encoded.shape[0]
        first = jnp.int32(0) if self.model is None else self.model.start
        impossible = jnp.full((rows, beam_size), IMPOSSIBLE, jnp.float32)
        no_labels = jnp.zeros((rows, beam_size, max_labels), jnp.int32)
        none = jnp.zeros((rows, beam_size), jnp.int32)
        return _Search(
            length=jnp.int32(0),
            labels=no_labels,
            last=none,
            scores=impossible.at[:, 0].set(0.0),
            attention=jnp.zeros((rows, beam_size)),
            lm=jnp.zeros((rows, beam_size)),
            lm_state=jnp.broadcast_to(first, (rows, beam_size)),
            prefixes=None if self.ctc is None else self.ctc.start(beam_size),
            cache=self.decoder.start(encoded, patches, beam_size, max_labels + 1),
            ended=Beams(no_labels, none, impossible),
            done=jnp.zeros(rows, bool),
        )

    def step(self, search: _Search) -> _Search:
        """Ends every hypothesis, or makes it a gloss longer; the best of both are kept."""
        logits, cache = self.decoder.step(search.last, search.cache)
        attention = search.attention[..., None] + jax.nn.log_softmax(logits)
        language = jnp.zeros(attention.shape)
        if self.model is not None:
            every = jnp.arange(attention.shape[-1], dtype=jnp.int32)[None, None]
            language = search.lm[..., None] + self.model.log_prob(search.lm_state[..., None], every)
        ended = self._ended(search, attention[..., 0], language[..., 0])
        return self._kept(search, self._grown(search, attention, language), cache, ended)

    def _ended(self, search: _Search, attention: jax.Array, language: jax.Array) -> Beams:
        """The best ended hypotheses, with those that end here with `attention` and `language`."""
        whole = jnp.zeros(()) if search.prefixes is None else search.prefixes.whole
        score = self.weights.score(whole, attention, language, search.length)
        return _merge(search, jnp.where(is_possible(search.scores), score, IMPOSSIBLE))

    def _grown(self, search: _Search, attention: jax.Array, language: jax.Array) -> _Grown:
        """The likeliest next glosses by (B, K, V) log probabilities of attention and language.

        CTC does not take part in the choice, but in the scores of the chosen.
        """
        beam_size, length = search.last.shape[1], search.length + 1
        known = self.weights.score(jnp.zeros(()), attention, language, length)[..., 1:]
        _, ids = jax.lax.top_k(known, min(max(2 * beam_size, CANDIDATES), known.shape[-1]))
        ids = ids.astype(jnp.int32) + 1
        begins = jnp.zeros(())
        if self.ctc is not None and search.prefixes is not None:
            begins = self.ctc.begins_with(search.prefixes, search.last, ids)
        attention, language = (jnp.take_along_axis(x, ids, axis=2) for x in (attention, language))
        score = self.weights.score(begins, attention, language, length)
        grows = is_possible(search.scores) & (search.length < self.longest)[:, None]
        return _Grown(ids, jnp.where(grows[..., None], score, IMPOSSIBLE), attention, language)

    def _kept(self, search: _Search, grown: _Grown, cache: DecoderCache, ended: Beams) -> _Search:
        """Returns the search one gloss further, with the best of the grown hypotheses."""
        rows, beam_size, max_labels = search.labels.shape
        score, chosen = jax.lax.top_k(grown.scores.reshape(rows, -1), beam_size)

        def pick(x: jax.Array) -> jax.Array:
            return jnp.take_along_axis(x.reshape(rows, -1), chosen, axis=1)

        parents, added = chosen // grown.ids.shape[-1], pick(grown.ids)
        labels = jnp.take_along_axis(search.labels, parents[..., None], axis=1)
        at_end = jnp.arange(max_labels, dtype=jnp.int32) == search.length
        lm_state = jnp.take_along_axis(search.lm_state, parents, axis=1)
        prefixes = search.prefixes
        if self.ctc is not None and prefixes is not None:
            prefixes = self.ctc.extended(prefixes, search.last, parents, added)
        # Below 0 if nothing grows any more.
        room = (self.longest - search.length - 1).astype(jnp.float32)
        hope = jnp.maximum(self.weights.label_bonus, 0.0) * jnp.maximum(room, 0.0)
        return _Search(
            length=search.length + 1,
            labels=jnp.where(at_end[None, None], added[..., None], labels),
            last=added,
            scores=score,
            attention=pick(grown.attention),
            lm=pick(grown.lm),
            lm_state=lm_state if self.model is None else self.model.advance(lm_state, added),
            prefixes=prefixes,
            cache=cache.select(parents),
            ended=ended,
            done=search.done | (score[:, 0] + hope <= ended.scores[:, -1]),
        )


def rescore(
    decoder: Decoder,
    encoded: jax.Array,
    log_probs: jax.Array,
    patches: jax.Array,
    beams: Beams,
    weights: Weights,
    lm: LanguageModel | None = None,
) -> Beams:
    """Ranks a beam's hypotheses again by the score of `joint_beam_search`; CTC's part is exact."""
    weights = Weights(*map(jnp.float32, weights))
    score = weights.score(
        ctc_log_prob(log_probs, patches, beams.labels, beams.label_lengths),
        attention_log_prob(decoder, encoded, patches, beams),
        _sentence_log_prob(lm, beams),
        beams.label_lengths,
    )
    score = jnp.where(is_possible(beams.scores), score, IMPOSSIBLE)
    return _best_first(beams._replace(scores=score), score.shape[1])


def _best_first(beams: Beams, count: int) -> Beams:
    """The `count` best hypotheses of each row."""
    scores, order = jax.lax.top_k(beams.scores, count)
    labels = jnp.take_along_axis(beams.labels, order[..., None], axis=1)
    return Beams(labels, jnp.take_along_axis(beams.label_lengths, order, axis=1), scores)


def attention_log_prob(
    decoder: Decoder, encoded: jax.Array, patches: jax.Array, beams: Beams
) -> jax.Array:
    """The attention decoder's log probability (B, K) of hypotheses with their ends."""
    rows, beam_size, max_labels = beams.labels.shape
    targets = jnp.pad(beams.labels, ((0, 0), (0, 0), (0, 1)))
    longest = jnp.max(beams.label_lengths)

    Carry = tuple[jax.Array, jax.Array, jax.Array, DecoderCache]

    def step(carry: Carry) -> Carry:
        position, tokens, total, cache = carry
        logits, cache = decoder.step(tokens, cache)
        target = jnp.take(targets, position, axis=2)
        gained = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)[..., 0]
        total += jnp.where(position <= beams.label_lengths, gained, 0.0)
        return position + 1, target, total, cache

    start = (
        jnp.int32(0),
        jnp.zeros((rows, beam_size), jnp.int32),
        jnp.zeros((rows, beam_size)),
        decoder.start(encoded, patches, beam_size, max_labels + 1),
    )
    return jax.lax.while_loop(lambda carry: carry[0] <= longest, step, start)[2]


def _sentence_log_prob(lm: LanguageModel | None, beams: Beams) -> jax.Array:
    """The language model's log probability (B, K) of hypotheses with their ends."""
    if lm is None:
        return jnp.zeros(beams.label_lengths.shape)

    Carry = tuple[jax.Array, jax.Array, jax.Array]

    def step(carry: Carry, labels: jax.Array) -> tuple[Carry, None]:
        position, state, total = carry
        gained = lm.log_prob(state, labels)
        total += jnp.where(position <= beams.label_lengths, gained, 0.0)
        return (position + 1, lm.advance(state, labels), total), None

    states = jnp.broadcast_to(lm.start, beams.label_lengths.shape)
    targets = jnp.pad(beams.labels, ((0, 0), (0, 0), (0, 1)))
    start = (jnp.int32(0), states, jnp.zeros(states.shape))
    (_, _, total), _ = jax.lax.scan(step, start, jnp.moveaxis(targets, 2, 0))
    return total


def _merge(search: _Search, scores: jax.Array) -> Beams:
    """The best of the hypotheses that had ended and of those that end here with (B, K) scores."""
    lengths = jnp.broadcast_to(search.length, scores.shape)
    ending = Beams(search.labels, lengths, scores)
    joined = jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), search.ended, ending)
    merged = _best_first(joined, scores.shape[1])
    # A sentence that is done stays as it is, so that it does not depend on its neighbors' lengths.
    done = search.done[:, None]
    return Beams(
        jnp.where(done[..., None], search.ended.labels, merged.labels),
        jnp.where(done, search.ended.label_lengths, merged.label_lengths),
        jnp.where(done, search.ended.scores, merged.scores),
    )

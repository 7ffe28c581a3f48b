"""CTC prefix beam search: finds the likeliest gloss sequences, each summed over all its paths."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.lm.lookup import LanguageModel

# The logarithm of "impossible". It is finite, so that sums and differences of it are never NaN.
IMPOSSIBLE = -1e30
# With a language model or an attention decoder, this many of the likeliest glosses (or twice the beam
# size if that is more) may extend a hypothesis. Without one, twice the beam size is provably enough (see
# `_candidates`).
CANDIDATES = 40


def is_possible(scores: jax.Array) -> jax.Array:
    """Returns which scores or log probabilities are of something possible, whatever the weights."""
    return scores > IMPOSSIBLE * 1e-6


def clip_log_probs(log_probs: jax.Array) -> jax.Array:
    """Returns log posteriors in float32, -1e6 or more; a model may say -inf."""
    return jnp.maximum(log_probs.astype(jnp.float32), -1e6)


class Beams(NamedTuple):
    """Hypotheses of a batch, the best first."""

    labels: jax.Array  # (B, K, U) int32, right-padded with 0
    label_lengths: jax.Array  # (B, K) int32
    scores: jax.Array  # (B, K) float32; `IMPOSSIBLE` if there are fewer than K

    @property
    def best(self) -> "Beams":
        """The best hypothesis of each row, as a beam of one."""
        return Beams(*(x[:, :1] for x in self))


class PrefixBeam(NamedTuple):
    """The beam of one sentence after some patches: K hypotheses, some of them impossible."""

    labels: jax.Array  # (K, U)
    lengths: jax.Array  # (K,)
    blank: jax.Array  # (K,) log probability of the paths that end in a blank
    gloss: jax.Array  # (K,) log probability of the paths that end in the last gloss
    prior: jax.Array  # (K,) the score's part from language model and length
    lm_state: jax.Array  # (K,)

    @property
    def total(self) -> jax.Array:
        """The log probability of all paths, (K,)."""
        return jnp.logaddexp(self.blank, self.gloss)

    @property
    def last(self) -> jax.Array:
        """The last glosses, (K,); the blank for the empty hypothesis."""
        return _last(self.labels, self.lengths)


def ctc_prefix_beam_search(
    log_probs: jax.Array,
    lengths: jax.Array,
    beam_size: int,
    max_labels: int,
    lm: LanguageModel | None = None,
    lm_weight: jax.Array | float = 0.0,
    label_bonus: jax.Array | float = 0.0,
) -> Beams:
    """Searches for the gloss sequences with the best score.

    The score is

        log P_ctc(labels) + lm_weight * log P_lm(labels, end of sentence) + label_bonus * len(labels).

    This is prefix beam search as in Hannun et al. 2014 (arXiv:1408.2873). It is exact if the beam holds
    all sequences. A narrower one finds at most the probability that its prefixes kept.

    Args:
        log_probs: (B, N, V) log posteriors; id 0 is the blank.
        lengths: (B,) valid patches; for 0 the hypothesis is empty.
        beam_size: K.
        max_labels: U, the longest hypothesis.
        lm: a language model over gloss ids, or None.
        lm_weight: its weight, at least 0; a traced value.
        label_bonus: for every gloss, as language model and CTC prefer few glosses; a traced value.
    """

    def search(log_probs: jax.Array, length: jax.Array) -> Beams:
        start = start_beam(beam_size, max_labels, lm)
        prefixes = extend_beam(start, log_probs, length, lm, lm_weight, label_bonus)
        score = prefixes.total + prefixes.prior
        if lm is not None:
            score += jnp.float32(lm_weight) * lm.log_prob(prefixes.lm_state, jnp.int32(BLANK_ID))
        score = jnp.where(is_possible(prefixes.total), score, IMPOSSIBLE)
        score, order = jax.lax.top_k(score, beam_size)
        return Beams(prefixes.labels[order], prefixes.lengths[order], score)

    return jax.vmap(search)(log_probs, lengths)


def start_beam(beam_size: int, max_labels: int, lm: LanguageModel | None) -> PrefixBeam:
    """Returns a beam of the empty hypothesis and K - 1 impossible ones."""
    impossible = jnp.full(beam_size, IMPOSSIBLE)
    return PrefixBeam(
        labels=jnp.zeros((beam_size, max_labels), jnp.int32),
        lengths=jnp.zeros(beam_size, jnp.int32),
        blank=impossible.at[0].set(0.0),
        gloss=impossible,
        prior=jnp.zeros(beam_size),
        lm_state=jnp.broadcast_to(jnp.int32(0) if lm is None else lm.start, beam_size),
    )


def extend_beam(
    prefixes: PrefixBeam,
    log_probs: jax.Array,
    length: jax.Array,
    lm: LanguageModel | None = None,
    lm_weight: jax.Array | float = 0.0,
    label_bonus: jax.Array | float = 0.0,
) -> PrefixBeam:
    """Returns the beam after the first `length` () of the next (N, V) log posteriors."""
    log_probs = clip_log_probs(log_probs)
    weight, bonus = jnp.float32(lm_weight), jnp.float32(label_bonus)
    ids, values = _candidates(log_probs, len(prefixes.lengths), lm is not None)

    def advance(prefixes: PrefixBeam, patch: tuple[jax.Array, ...]) -> tuple[PrefixBeam, None]:
        number, row, ids, values = patch
        after = _extend(prefixes, row, ids, values, lm, weight, bonus)
        valid = number < length
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, prefixes), None

    numbers = jnp.arange(len(log_probs), dtype=jnp.int32)
    return jax.lax.scan(advance, prefixes, (numbers, log_probs, ids, values))[0]


def ctc_log_prob(
    log_probs: jax.Array, lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """Returns log P_ctc of given hypotheses over all paths (the recursion of Graves et al. 2006).

    Args:
        log_probs: (B, N, V) log posteriors.
        lengths: (B,) valid patches.
        labels: (B, K, U) right-padded.
        label_lengths: (B, K).

    Returns:
        (B, K) float32, not `is_possible` if the patches are too few.
    """
    log_probs = clip_log_probs(log_probs)

    def forward(
        log_probs: jax.Array, length: jax.Array, labels: jax.Array, label_length: jax.Array
    ) -> jax.Array:
        # States 0, 2, 4, ... are blanks, state 2u + 1 is label u.
        states = jnp.zeros(2 * len(labels) + 1, jnp.int32).at[1::2].set(labels)
        gloss = states != BLANK_ID
        skips = gloss & (states != jnp.roll(states, 2))  # over the blank, unless a gloss repeats
        start = jnp.full(len(states), IMPOSSIBLE).at[0].set(0.0)

        def advance(alpha: jax.Array, patch: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            number, row = patch
            one = jnp.pad(alpha, (1, 0), constant_values=IMPOSSIBLE)[:-1]
            two = jnp.pad(alpha, (2, 0), constant_values=IMPOSSIBLE)[:-2]
            two = jnp.where(skips, two, IMPOSSIBLE)
            after = jnp.logaddexp(jnp.logaddexp(alpha, one), two) + row[states]
            return jnp.where(number < length, jnp.maximum(after, IMPOSSIBLE), alpha), None

        numbers = jnp.arange(len(log_probs), dtype=jnp.int32)
        alpha, _ = jax.lax.scan(advance, start, (numbers, log_probs))
        ends_in_gloss = jnp.where(label_length > 0, alpha[2 * label_length - 1], IMPOSSIBLE)
        return jnp.logaddexp(alpha[2 * label_length], ends_in_gloss)

    over_beam = jax.vmap(forward, in_axes=(None, None, 0, 0))
    return jax.vmap(over_beam)(log_probs, lengths, labels, label_lengths)


def _candidates(log_probs: jax.Array, beam_size: int, with_lm: bool) -> tuple[jax.Array, jax.Array]:
    """The glosses (N, M) of each patch that may extend a hypothesis, and their log posteriors.

    Without a language model, a hypothesis' extensions rank as their glosses do. The exceptions are its
    own last gloss and glosses that lead to another hypothesis of the beam, at most K in all. So among
    its 2K best glosses there are K that beat all that are left out.
    """
    wanted = max(2 * beam_size, CANDIDATES) if with_lm else 2 * beam_size
    values, ids = jax.lax.top_k(log_probs[..., 1:], min(wanted, log_probs.shape[-1] - 1))
    return ids.astype(jnp.int32) + 1, values


def _last(labels: jax.Array, lengths: jax.Array) -> jax.Array:
    """The last of each row of (K, U) labels: (K,), 0 if the row is empty."""
    index = jnp.maximum(lengths - 1, 0)[:, None]
    return jnp.take_along_axis(labels, index, axis=1)[:, 0]


def _extend(
    prefixes: PrefixBeam,
    row: jax.Array,
    ids: jax.Array,
    values: jax.Array,
    lm: LanguageModel | None,
    lm_weight: jax.Array,
    label_bonus: jax.Array,
) -> PrefixBeam:
    """Returns the beam after one more patch: (V,) log posteriors, and (M,) candidates with theirs."""
    beam_size, max_labels = prefixes.labels.shape
    total, last = prefixes.total, prefixes.last
    alive = is_possible(total)

    # parent[i, j]: hypothesis j is hypothesis i and one gloss more. A path of i that goes on to that
    # gloss belongs to j, and must not become a second j.
    positions = jnp.arange(max_labels, dtype=jnp.int32)[None]
    at_last = positions == prefixes.lengths[:, None] - 1
    shortened = jnp.where(at_last, 0, prefixes.labels)
    parent = jnp.all(prefixes.labels[:, None] == shortened[None], axis=-1)
    parent &= (prefixes.lengths > 0)[None] & alive[None] & alive[:, None]

    # A repeated gloss counts as a new one only after a blank.
    leads_on = jnp.where(last[:, None] == last[None], prefixes.blank[:, None], total[:, None])
    from_parent = jnp.max(jnp.where(parent, leads_on, IMPOSSIBLE), axis=0)  # has one at most
    blank = total + row[BLANK_ID]
    gloss = jnp.logaddexp(prefixes.gloss, from_parent) + row[last]
    gloss = jnp.where(prefixes.lengths > 0, gloss, IMPOSSIBLE)
    stays = jnp.logaddexp(blank, gloss) + prefixes.prior

    repeats = ids[None] == last[:, None]
    extended = jnp.where(repeats, prefixes.blank[:, None], total[:, None]) + values[None]
    merged = jnp.any(parent[:, :, None] & (ids[None] == last[:, None])[None], axis=1)
    allowed = ~merged & alive[:, None] & (prefixes.lengths < max_labels)[:, None]
    extended = jnp.where(allowed, extended, IMPOSSIBLE)
    prior = prefixes.prior[:, None] + label_bonus
    if lm is not None:
        prior += lm_weight * lm.log_prob(prefixes.lm_state[:, None], ids[None])
    scores = jnp.concatenate([stays, (extended + prior).ravel()])

    _, chosen = jax.lax.top_k(scores, beam_size)
    grows = chosen >= beam_size
    source = jnp.where(grows, (chosen - beam_size) // len(ids), chosen)
    added = jnp.where(grows, ids[(chosen - beam_size) % len(ids)], 0)

    def pick(stay: jax.Array, grow: jax.Array) -> jax.Array:
        """Returns the chosen among (K,) that stay and (K, M) that grow."""
        return jnp.concatenate([stay, grow.ravel()])[chosen]

    lengths = prefixes.lengths[source]
    at_end = positions == lengths[:, None]
    lm_state = prefixes.lm_state[source]
    if lm is not None:
        lm_state = jnp.where(grows, lm.advance(lm_state, added), lm_state)
    return PrefixBeam(
        labels=jnp.where(at_end & grows[:, None], added[:, None], prefixes.labels[source]),
        lengths=lengths + grows.astype(jnp.int32),
        blank=jnp.maximum(pick(blank, jnp.full(extended.shape, IMPOSSIBLE)), IMPOSSIBLE),
        gloss=jnp.maximum(pick(gloss, extended), IMPOSSIBLE),
        prior=pick(prefixes.prior, jnp.broadcast_to(prior, extended.shape)),
        lm_state=lm_state,
    )

"""CTC's probability of all gloss sequences that begin with a hypothesis, gloss by gloss.

Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", algorithm 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.decode.prefix_beam import IMPOSSIBLE, clip_log_probs


class Prefixes(NamedTuple):
    """The forward variables of (B, K) hypotheses after 0 to N patches, (B, K, N + 1) each."""

    blank: jax.Array  # log probability of the paths that end in a blank
    gloss: jax.Array  # log probability of the paths that end in the hypothesis' last gloss

    @property
    def whole(self) -> jax.Array:
        """The log probability of the hypotheses as whole sequences, (B, K)."""
        return jnp.logaddexp(self.blank[..., -1], self.gloss[..., -1])


class PrefixScorer(NamedTuple):
    """Scores hypotheses by a batch's posteriors."""

    log_probs: jax.Array  # (B, N, V)
    valid: jax.Array  # (B, N) bool

    @classmethod
    def from_posteriors(cls, log_probs: jax.Array, lengths: jax.Array) -> "PrefixScorer":
        """Makes a scorer of (B, N, V) log posteriors with (B,) valid patches."""
        positions = jnp.arange(log_probs.shape[1], dtype=jnp.int32)[None]
        return cls(clip_log_probs(log_probs), positions < lengths[:, None])

    def start(self, beam_size: int) -> Prefixes:
        """Returns the empty hypothesis, K times: its paths are blanks alone."""
        blanks = jnp.cumsum(jnp.where(self.valid, self.log_probs[..., BLANK_ID], 0.0), axis=1)
        blank = jnp.pad(blanks, ((0, 0), (1, 0)))[:, None]
        blank = jnp.broadcast_to(blank, (blank.shape[0], beam_size, blank.shape[2]))
        return Prefixes(blank, jnp.full(blank.shape, IMPOSSIBLE, jnp.float32))

    def begins_with(self, prefixes: Prefixes, last: jax.Array, ids: jax.Array) -> jax.Array:
        """Returns the log probability of all sequences that begin with a hypothesis and one gloss more.

        It sums over the patches at which a path first comes to that gloss; all that may follow has
        probability 1.

        Args:
            prefixes: of the hypotheses.
            last: (B, K) their last glosses, 0 for an empty one.
            ids: (B, K, M) glosses.

        Returns:
            (B, K, M) float32.
        """
        paths = _leads_on(prefixes, last, ids) + self._of(ids)
        paths = jnp.where(self.valid[:, None, :, None], paths, IMPOSSIBLE)
        return jnp.maximum(jax.nn.logsumexp(paths, axis=2), IMPOSSIBLE)

    def extended(
        self, prefixes: Prefixes, last: jax.Array, parents: jax.Array, ids: jax.Array
    ) -> Prefixes:
        """Returns the hypotheses that extend the (B, K) parents by (B, K) glosses."""
        chosen = Prefixes(*(jnp.take_along_axis(x, parents[..., None], axis=1) for x in prefixes))
        last = jnp.take_along_axis(last, parents, axis=1)
        enters = _leads_on(chosen, last, ids[..., None])[..., 0]
        stays = self._of(ids[..., None])[..., 0]

        def advance(before: Prefixes, patch: tuple[jax.Array, ...]) -> tuple[Prefixes, Prefixes]:
            enters, gloss_row, blank_row, valid = patch
            blank = jnp.logaddexp(before.blank, before.gloss) + blank_row
            gloss = jnp.logaddexp(before.gloss, enters) + gloss_row
            after = Prefixes(
                jnp.where(valid, jnp.maximum(blank, IMPOSSIBLE), before.blank),
                jnp.where(valid, jnp.maximum(gloss, IMPOSSIBLE), before.gloss),
            )
            return after, after

        nothing = jnp.full(ids.shape, IMPOSSIBLE, jnp.float32)
        by_patch = (
            jnp.moveaxis(enters, 2, 0),
            jnp.moveaxis(stays, 2, 0),
            self.log_probs[..., BLANK_ID].T[..., None],
            self.valid.T[..., None],
        )
        _, states = jax.lax.scan(advance, Prefixes(nothing, nothing), by_patch)
        return Prefixes(
            *(
                jnp.concatenate([nothing[..., None], jnp.moveaxis(state, 0, 2)], axis=2)
                for state in states
            )
        )

    def _of(self, ids: jax.Array) -> jax.Array:
        """The log posteriors of (B, K, M) glosses: (B, K, N, M)."""
        return jnp.take_along_axis(self.log_probs[:, None], ids[:, :, None], axis=3)


def _leads_on(prefixes: Prefixes, last: jax.Array, ids: jax.Array) -> jax.Array:
    """The log probability (B, K, N, M) of paths that may go on to (B, K, M) glosses at each patch."""
    blank, gloss = prefixes.blank[..., :-1, None], prefixes.gloss[..., :-1, None]
    repeats = (ids == last[..., None])[:, :, None]  # count as new glosses only after a blank
    return jnp.where(repeats, blank, jnp.logaddexp(blank, gloss))

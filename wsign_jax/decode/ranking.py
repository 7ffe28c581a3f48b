"""Ranks all glosses for a recording of a single sign, by CTC."""

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID

_Paths = tuple[jax.Array, jax.Array, jax.Array]


def single_gloss_scores(log_probs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Returns CTC's log probability of each gloss as the whole label sequence, of all at once.

    It sums over all paths of blanks, then one gloss for one patch or more, then blanks: the forward
    recursion of Graves et al. 2006 for one label. Logits will do, too: they move all scores of a row
    alike.

    Args:
        log_probs: (B, N, V) log posteriors.
        lengths: (B,) valid patches.

    Returns:
        (B, V) float32; minus infinity for the blank, and in a row without patches.
    """

    def step(paths: _Paths, patch: tuple[jax.Array, jax.Array]) -> tuple[_Paths, None]:
        before, inside, after = paths  # in the blanks before, in the gloss, in the blanks after
        emitted, valid = patch
        blank = emitted[:, BLANK_ID, None]
        moved = (
            jnp.where(valid, before + blank, before),
            jnp.where(valid, jnp.logaddexp(before, inside) + emitted, inside),
            jnp.where(valid, jnp.logaddexp(inside, after) + blank, after),
        )
        return moved, None

    rows, patches, glosses = log_probs.shape
    nowhere = jnp.full((rows, glosses), -jnp.inf, jnp.float32)
    valid = jnp.arange(patches, dtype=jnp.int32)[:, None, None] < lengths[None, :, None]
    emitted = log_probs.astype(jnp.float32).transpose(1, 0, 2)
    start = (jnp.zeros((rows, 1), jnp.float32), nowhere, nowhere)
    (_, inside, after), _ = jax.lax.scan(step, start, (emitted, valid))
    return jnp.logaddexp(inside, after).at[:, BLANK_ID].set(-jnp.inf)


def gloss_ranks(log_probs: jax.Array, lengths: jax.Array, glosses: jax.Array) -> jax.Array:
    """Returns the place of each row's gloss (B,) among all glosses, 1 for the likeliest: (B,) int32.

    The posteriors are as in `single_gloss_scores`. Of equal glosses, each has the last of their places:
    a model that tells nothing apart is not credited with a hit.
    """
    scores = single_gloss_scores(log_probs, lengths)
    own = jnp.take_along_axis(scores, glosses[:, None], axis=1)
    return jnp.sum(scores[:, BLANK_ID + 1 :] >= own, axis=1, dtype=jnp.int32)

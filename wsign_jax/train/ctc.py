"""CTC for accelerators: one loop of few kernels, and the gradient in closed form.

After Graves et al., Connectionist temporal classification (2006). A row's U labels with blanks around
them are S = 2U + 1 states. Alpha sums the paths that lead to a state, beta those that go on from it. In
reverse order of patches and states, beta obeys the recursion of alpha. So one scan computes both.
`optax.ctc_loss`, which CPUs run, has a loop forwards and one backwards, on a GPU of 14 and 8 kernels for
each patch.
"""

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID

_LOG_ZERO = -1e5  # finite, so that labels that cannot be emitted have a gradient without NaN
_UNROLL = 8  # patches a turn: fewer kernels


@jax.custom_vjp
def negative_log_likelihood(
    logits: jax.Array, patches: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """The negative log-likelihood of the labels under CTC, as of `optax.ctc_loss`.

    Args:
        logits: (B, N, V) float32.
        patches: (B,) valid patches.
        labels: (B, U) right-padded.
        label_lengths: (B,).

    Returns:
        (B,) float32; about 1e5 if the labels cannot be emitted.
    """
    return _forward(logits, patches, labels, label_lengths)[0]


def _forward(
    logits: jax.Array, patches: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the loss, and what `_gradient` needs."""
    blank = jnp.asarray(BLANK_ID, labels.dtype)
    states = jax.lax.pad(labels, blank, [(0, 0, 0), (1, 1, 1)])  # before, between and after them
    emitted = jnp.take_along_axis(logits, states[:, None], axis=-1)
    emitted = emitted - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    emitted = emitted.transpose(1, 0, 2)  # (N, B, S)
    valid = jnp.arange(logits.shape[1], dtype=patches.dtype)[:, None] < patches[None]
    # Alpha starts from the first blank, beta from the one after the row's last label.
    start = states.shape[1] - 1 - 2 * label_lengths
    last, sums = _log_sums(
        jnp.stack([states, states[:, ::-1]]),
        jnp.stack([emitted, emitted[::-1, :, ::-1]], axis=1),
        jnp.stack([valid, valid[::-1]], axis=1),
        jnp.stack([jnp.zeros_like(start), start]),
    )
    alpha, beta = sums[:, 0], sums[::-1, 1, :, ::-1]
    # Both have the patch's own emission. Each patch has one state: its chances sum to 1.
    chances = jax.nn.softmax(alpha + beta - emitted, axis=-1)
    chances = jnp.where(valid[..., None], chances, 0.0)
    # Beta at the first patch: a path begins with a blank or with a label.
    loss = -jax.nn.logsumexp(last[1, :, -2:], axis=-1)
    return loss, (logits, valid, states, chances)


def _gradient(
    kept: tuple[jax.Array, ...], loss_gradient: jax.Array
) -> tuple[jax.Array | None, ...]:
    """The gradient by the logits: their softmax less the chance that a path emits the id there."""
    logits, valid, states, chances = kept
    # A product with ones and zeros, exact at the highest precision: a scatter is slow on TPU, and on a
    # GPU its sums are in any order.
    ids = jax.nn.one_hot(states, logits.shape[-1])
    emitted = jnp.einsum("nbs,bsv->bnv", chances, ids, precision=jax.lax.Precision.HIGHEST)
    softmax = jnp.where(valid.T[..., None], jax.nn.softmax(logits), 0.0)
    return loss_gradient[:, None, None] * (softmax - emitted), None, None, None


negative_log_likelihood.defvjp(_forward, _gradient)


def _log_sums(
    states: jax.Array, emitted: jax.Array, valid: jax.Array, start: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The logarithms of the summed probabilities of all paths to a state.

    Args:
        states: (..., S) ids.
        emitted: (N, ..., S) log-probabilities.
        valid: (N, ...); nothing changes at a patch that is not.
        start: (...) the state that paths start from, or from the one after it.

    Returns:
        The sums (..., S) after the last patch, and those (N, ..., S) after each.
    """
    before = _later(states, 2, BLANK_ID)
    # A path may leave out a blank between two labels that differ.
    skip = jnp.where((states != BLANK_ID) & (states != before), 0.0, _LOG_ZERO)
    first = _LOG_ZERO * (1.0 - jax.nn.one_hot(start, states.shape[-1]))

    def step(sums: jax.Array, patch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        emitted, valid = patch
        one, two = _later(sums, 1, _LOG_ZERO), _later(sums, 2, _LOG_ZERO) + skip
        most = jnp.maximum(jnp.maximum(sums, one), two)
        total = jnp.exp(sums - most) + jnp.exp(one - most) + jnp.exp(two - most)
        sums = jnp.where(valid[..., None], most + jnp.log(total) + emitted, sums)
        return sums, sums

    return jax.lax.scan(step, first, (emitted, valid), unroll=_UNROLL)


def _later(x: jax.Array, places: int, fill: float) -> jax.Array:
    """Moves (..., S) towards higher states by so many places."""
    padding = [(0, 0)] * (x.ndim - 1) + [(places, 0)]
    return jnp.pad(x, padding, constant_values=fill)[..., : x.shape[-1]]

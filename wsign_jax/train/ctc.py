"""CTC for accelerators: one loop of few kernels, and the gradient in closed form.

After Graves et al., Connectionist temporal classification (2006). A row's U labels with blanks around
them are S = 2U + 1 states. Alpha sums the paths that lead to a state, beta those that go on from it. In
reverse order of patches and states, beta obeys the recursion of alpha. So one scan computes both.
`optax.ctc_loss` has a loop forwards and one backwards, on a GPU of 14 and 8 kernels for each patch.
"""

import jax
import jax.numpy as jnp

from wsign_jax.data.vocab import BLANK_ID

_LOG_ZERO = -1e5  # finite, so that labels that cannot be emitted have a gradient without NaN
_UNROLL = 8  # patches a turn: on a GPU fewer kernels


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
    states, emitted, valid = _emissions(logits, patches, labels)
    backwards = _backwards(states, emitted, valid, label_lengths)
    return _loss(_log_sums(*backwards)[0])


def _forward(
    logits: jax.Array, patches: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the loss, and what `_gradient` needs."""
    states, emitted, valid = _emissions(logits, patches, labels)
    forwards = states, emitted, valid, jnp.zeros_like(label_lengths)
    backwards = _backwards(states, emitted, valid, label_lengths)
    states, emissions, valids, start = (
        jnp.stack(pair, axis=axis)
        for pair, axis in zip(zip(forwards, backwards, strict=True), (0, 1, 1, 0), strict=True)
    )
    last, sums = _log_sums(states, emissions, valids, start)
    alpha, beta = sums[:, 0], sums[::-1, 1, :, ::-1]
    # Both have the patch's own emission. Each patch has one state: its chances sum to 1.
    chances = jax.nn.softmax(alpha + beta - emitted, axis=-1)
    chances = jnp.where(valid[..., None], chances, 0.0)
    return _loss(last[1]), (logits, valid, states[0], chances)


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


def _emissions(
    logits: jax.Array, patches: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the ids of the states (B, S), their log-probabilities (N, B, S), valid patches (N, B)."""
    rows, length, _ = logits.shape
    states = jnp.full((rows, 2 * labels.shape[1] + 1), BLANK_ID, labels.dtype)
    states = states.at[:, 1::2].set(labels)
    emitted = jnp.take_along_axis(logits, states[:, None], axis=-1)
    emitted = emitted - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    valid = jnp.arange(length, dtype=patches.dtype)[:, None] < patches[None]
    return states, emitted.transpose(1, 0, 2), valid


def _backwards(
    states: jax.Array, emitted: jax.Array, valid: jax.Array, label_lengths: jax.Array
) -> tuple[jax.Array, ...]:
    """Turns patches and states around, for beta; it starts from the blank after the last label."""
    start = states.shape[-1] - 1 - 2 * label_lengths
    return states[:, ::-1], emitted[::-1, :, ::-1], valid[::-1], start


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


def _loss(beta: jax.Array) -> jax.Array:
    """The loss (B,) from beta (B, S), turned around, at the first patch: of the first two states."""
    return -jax.nn.logsumexp(beta[..., -2:], axis=-1)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.train import ctc, losses

N, V = 11, 6  # patches that turns of the loop do not divide
EMITTED = 7  # the first rows


def forwards(emitted, states):
    """The logarithms of the sums of all paths to each state, in float64."""
    skips = np.zeros(len(states), bool)
    skips[2:] = (states[2:] != 0) & (states[2:] != states[:-2])
    sums = np.full(emitted.shape, -np.inf)
    sums[0, :2] = emitted[0, :2]
    for patch in range(1, len(emitted)):
        before = np.concatenate([[-np.inf, -np.inf], sums[patch - 1]])
        skip = np.where(skips, before[:-2], -np.inf)
        total = np.logaddexp(np.logaddexp(before[2:], before[1:-1]), skip)
        sums[patch] = total + emitted[patch]
    return sums


def reference(logits, labels):
    """The loss of one row, and its gradient by the (n, V) logits, in float64."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    states = np.zeros(2 * len(labels) + 1, int)
    states[1::2] = labels
    emitted = log_probs[:, states]
    alpha = forwards(emitted, states)
    beta = forwards(emitted[::-1, ::-1], states[::-1])[::-1, ::-1]
    loss = -np.logaddexp.reduce(alpha[-1, -2:])
    gradient = np.exp(log_probs)
    for state, id in enumerate(states):
        gradient[:, id] -= np.exp(alpha + beta - emitted + loss)[:, state]
    return loss, gradient


@pytest.fixture(scope="module")
def rows():
    """Rows of labels, the last three masked or too long; loss and gradient, ours and optax's."""
    labels = [
        [1, 2, 3, 4],
        [1, 1, 2, 2],
        [5],
        [],
        [3, 3, 3],
        [2, 1, 2, 1],
        [1, 1],
    ]  # three just fit
    labels += [[], [1, 2, 3], [4, 4, 4]]
    patches = np.array([N, N, 7, 4, 5, 4, 3, 0, 2, 3], np.int32)
    logits = np.random.default_rng(0).normal(0, 2, (len(labels), N, V)).astype(np.float32)
    lengths = np.array([len(ids) for ids in labels], np.int32)
    padded = np.array([ids + [0] * (4 - len(ids)) for ids in labels], np.int32)

    def both(loss):
        of_logits = jax.jit(lambda logits: loss(logits, patches, padded, lengths))
        found, back = jax.vjp(of_logits, logits)
        return np.asarray(found), np.asarray(back(jnp.ones_like(found))[0])

    def by_optax(logits, patches, labels, lengths):  # which a CPU runs
        return losses.ctc_loss(logits, patches, labels, lengths) * np.maximum(lengths, 1).astype(
            np.float32
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctc, "_UNROLL", 2)  # it compiles sooner
        ours = both(ctc.negative_log_likelihood)
        plain = ctc.negative_log_likelihood(logits, patches, padded, lengths)
    np.testing.assert_array_equal(plain, ours[0])
    return logits, patches, labels, ours, both(by_optax)


def test_loss_and_gradient_are_those_in_float64_and_optax_s(rows):
    logits, patches, labels, (loss, gradient), (their_loss, their_gradient) = rows
    for row in range(EMITTED):
        count = patches[row]
        expected, slope = reference(logits[row, :count].astype(np.float64), labels[row])
        assert loss[row] == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradient[row, :count], slope, atol=1e-5 * np.abs(slope).max())
        np.testing.assert_array_equal(gradient[row, count:], 0.0)
    np.testing.assert_allclose(loss[:EMITTED], their_loss[:EMITTED], rtol=1e-6)
    np.testing.assert_allclose(gradient[:EMITTED], their_gradient[:EMITTED], atol=1e-5)


def test_a_masked_row_costs_nothing_and_labels_that_cannot_be_emitted_stay_finite(rows):
    *_, (loss, gradient), (theirs, _) = rows
    assert loss[EMITTED] == theirs[EMITTED] == 0 and (gradient[EMITTED] == 0).all()
    np.testing.assert_allclose(loss[EMITTED + 1 :], theirs[EMITTED + 1 :], rtol=0.01)
    assert (loss[EMITTED + 1 :] > 9e4).all()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() <= 1

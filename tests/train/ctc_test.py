import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.train import ctc, losses

N, V = 11, 6  # patches that turns of the loop do not divide


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


def loss_and_gradient(loss, logits, patches, labels):
    """Loss and gradient of rows of labels, which are padded."""
    lengths = np.array([len(row) for row in labels], np.int32)
    padded = np.zeros((len(labels), 4), np.int32)
    for row, ids in zip(padded, labels, strict=True):
        row[: len(ids)] = ids
    arguments = jnp.asarray(patches, jnp.int32), jnp.asarray(padded), jnp.asarray(lengths)
    found, back = jax.vjp(jax.jit(lambda x: loss(x, *arguments)), jnp.asarray(logits))
    np.testing.assert_allclose(jax.jit(loss)(logits, *arguments), found, rtol=1e-6)
    return np.asarray(found), np.asarray(back(jnp.ones_like(found))[0])


def test_loss_and_gradient_are_those_in_float64_and_optax_s():
    labels = [[1, 2, 3, 4], [1, 1, 2, 2], [5], [3, 3, 3], [], [2, 1, 2, 1], [1, 1]]
    patches = [N, N, 7, 5, 4, 4, 3]  # the last three rows of labels just fit
    logits = np.random.default_rng(0).normal(0, 2, (len(labels), N, V)).astype(np.float32)
    loss, gradient = loss_and_gradient(ctc.negative_log_likelihood, logits, patches, labels)
    for row, count in enumerate(patches):
        expected, slope = reference(logits[row, :count].astype(np.float64), labels[row])
        assert loss[row] == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradient[row, :count], slope, atol=1e-5 * np.abs(slope).max())
        np.testing.assert_array_equal(gradient[row, count:], 0.0)
    theirs = loss_and_gradient(losses._optax_ctc, logits, patches, labels)
    np.testing.assert_allclose(loss, theirs[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs[1], atol=1e-5)


def test_a_masked_row_costs_nothing_and_labels_that_cannot_be_emitted_stay_finite():
    logits = np.random.default_rng(0).normal(0, 9, (3, N, V)).astype(np.float32)
    rows = logits, [0, 2, 3], [[], [1, 2, 3], [4, 4, 4]]
    loss, gradient = loss_and_gradient(ctc.negative_log_likelihood, *rows)
    theirs, _ = loss_and_gradient(losses._optax_ctc, *rows)
    assert loss[0] == theirs[0] == 0 and (gradient[0] == 0).all()
    np.testing.assert_allclose(loss[1:], theirs[1:], rtol=0.01)
    assert (loss[1:] > 9e4).all() and np.isfinite(gradient).all() and np.abs(gradient).max() <= 1


@pytest.mark.parametrize(("platform", "loops"), [("cpu", 2), ("cuda", 1), ("tpu", 1)])
def test_the_platform_that_a_program_is_for_decides_which_one_runs(platform, loops):
    shapes = [
        jax.ShapeDtypeStruct(*shape)
        for shape in (((2, N, V), jnp.bfloat16), ((2,), jnp.int32), ((2, 4), jnp.int32))
    ]
    step = jax.jit(jax.grad(lambda *x: jnp.sum(losses.ctc_loss(*x))))
    lowered = step.trace(*shapes, shapes[1]).lower(lowering_platforms=(platform,))
    text = lowered.as_text()
    assert text.count("stablehlo.while") == loops

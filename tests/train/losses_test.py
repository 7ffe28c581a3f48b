import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.train import losses


def brute_force_ctc(log_probs, labels):
    """-log of the summed probability of all alignments of `labels` with (N, V) log-probabilities."""
    n, v = log_probs.shape
    total = 0.0
    for path in itertools.product(range(v), repeat=n):
        collapsed = [k for k, _ in itertools.groupby(path) if k != 0]
        if collapsed == list(labels):
            total += np.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
    return -np.log(total)


@pytest.mark.parametrize("labels", [[1], [2, 1], [1, 1], [2, 2, 1], [1, 2, 1]])
@pytest.mark.parametrize("patches", [5, 6])
def test_ctc_is_the_sum_over_alignments(labels, patches):
    rng = np.random.default_rng(len(labels) + patches)
    logits = rng.normal(size=(1, 6, 3)).astype(np.float32)
    log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(logits)))[0, :patches]
    padded = np.zeros((1, 4), np.int32)
    padded[0, : len(labels)] = labels
    loss = losses.ctc_loss(
        jnp.asarray(logits), jnp.array([patches]), jnp.asarray(padded), jnp.array([len(labels)])
    )
    expected = brute_force_ctc(log_probs.astype(np.float64), labels) / len(labels)
    assert float(loss[0]) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_by_hand():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 5)).astype(np.float32)
    labels = np.array([[3, 3, 1], [2, 0, 0]], np.int32)
    lengths = np.array([3, 1], np.int32)
    loss, hits = losses.attention_loss(jnp.asarray(logits), jnp.asarray(labels), lengths, 0.1)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for row, targets in enumerate(([3, 3, 1, 0], [2, 0])):
        each = [
            -0.9 * log_probs[row, u, target] - 0.1 * log_probs[row, u].mean()
            for u, target in enumerate(targets)
        ]
        assert float(loss[row]) == pytest.approx(np.mean(each), rel=1e-5)
        right = sum(int(logits[row, u].argmax() == target) for u, target in enumerate(targets))
        assert int(hits[row]) == right


def test_the_decoder_is_fed_what_it_must_predict_one_step_earlier():
    labels = jnp.array([[4, 2, 0]], jnp.int32)
    np.testing.assert_array_equal(losses.decoder_inputs(labels), [[0, 4, 2, 0]])


def test_masked_rows_do_not_count():
    values, real = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])
    assert float(losses.mean_over_rows(values, real)) == 2.0
    assert float(losses.mean_over_rows(values, jnp.zeros(3, bool))) == 0.0


def test_a_masked_row_sends_no_gradient():
    def loss(logits):
        values = losses.ctc_loss(
            logits, jnp.array([6, 0]), jnp.array([[1, 2], [0, 0]]), jnp.array([2, 0])
        )
        return losses.mean_over_rows(values, jnp.array([True, False]))

    gradient = jax.grad(loss)(jnp.zeros((2, 6, 4)))
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 0
    np.testing.assert_array_equal(gradient[1], 0.0)

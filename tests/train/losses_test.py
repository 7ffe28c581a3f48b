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


@pytest.mark.parametrize(
    ("patches", "labels", "paths"),
    [(2, [1], 3), (2, [1, 2], 1), (3, [1], 6), (3, [1, 1], 1), (3, [1, 2], 5), (1, [], 1)],
)
def test_ctc_of_even_odds_by_hand(patches, labels, paths):
    # Each of the 3^N paths is as likely: for [1, 2] in three patches 112, 122, 012, 102 and 120.
    padded = np.array([labels + [0] * (2 - len(labels))], np.int32)
    loss = losses.ctc_loss(
        jnp.zeros((1, 3, 3)), jnp.array([patches]), jnp.asarray(padded), jnp.array([len(labels)])
    )
    assert float(loss[0]) == pytest.approx(np.log(3**patches / paths) / max(len(labels), 1))


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
    # Every target here has a probability of 1 / 2, the three other ids have 1 / 6. Smoothed by 0.1:
    # 0.9 * log(2) + 0.1 * (log(2) + 3 * log(6)) / 4 = 0.775539. Missed at odds of 1 / 6 it is
    # 0.9 * log(6) + 0.1 * (log(2) + 3 * log(6)) / 4 = 1.764290.
    likeliest = np.array([[3, 3, 1, 0], [2, 0, 1, 1], [1, 2, 0, 0]])
    logits = jnp.log(1 / 6 + 1 / 3 * jax.nn.one_hot(likeliest, 4)) + 5.0
    labels = jnp.array([[3, 3, 1], [2, 0, 0], [2, 2, 0]])  # of the last the first is missed
    loss, hits = losses.attention_loss(logits, labels, jnp.array([3, 1, 2]), 0.1)
    missed = (2 * 0.775539 + 1.764290) / 3
    np.testing.assert_allclose(loss, [0.775539, 0.775539, missed], rtol=1e-5)
    assert hits.tolist() == [4, 2, 2]
    plain, _ = losses.attention_loss(logits, labels, jnp.array([3, 1, 2]), 0.0)
    np.testing.assert_allclose(plain, np.log([2, 2, 24 ** (1 / 3)]), rtol=1e-5)


def test_the_decoder_is_fed_what_it_must_predict_one_step_earlier():
    labels = jnp.array([[4, 2, 0]], jnp.int32)
    np.testing.assert_array_equal(losses.decoder_inputs(labels), [[0, 4, 2, 0]])


def test_masked_rows_do_not_count():
    values = jnp.array([1.0, jnp.nan, 3.0])
    for real, expected in (([True, False, True], 2.0), ([0, 0, 1], 3.0), ([0, 0, 0], 0.0)):
        assert float(losses.mean_over_rows(values, jnp.array(real, bool))) == expected


def test_a_masked_row_sends_no_gradient():
    def loss(logits):
        values = losses.ctc_loss(
            logits, jnp.array([6, 0]), jnp.array([[1, 2], [0, 0]]), jnp.array([2, 0])
        )
        return losses.mean_over_rows(values, jnp.array([True, False]))

    gradient = jax.grad(loss)(jnp.zeros((2, 6, 4)))
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 0
    np.testing.assert_array_equal(gradient[1], 0.0)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.model.layers import DropoutKeys
from wsign_jax.train import losses


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


def test_consistency_by_hand():
    # (1/2, 1/2) and (9/10, 1/10) are log(5/3) apart in one direction and 0.9 log 9 + log(1/5) in the
    # other: 0.510826 and 0.368064, together half of it 0.439445 for a patch. The third patch is padding.
    views = jnp.log(jnp.array([[[1 / 2, 1 / 2]] * 3, [[9 / 10, 1 / 10]] * 3]))
    patches, labels = jnp.array([2]), jnp.array([4])
    loss = losses.consistency_loss(views, patches, labels)
    np.testing.assert_allclose(loss, [2 * 0.439445 / 4], rtol=1e-5)
    # A view is drawn to the other: half the difference of the posteriors, over the number of labels.
    gradient = jax.grad(lambda x: losses.consistency_loss(x, patches, labels)[0])(views)
    expected = np.array([[-0.05, 0.05]] * 2 + [[0.0, 0.0]])
    np.testing.assert_allclose(gradient, [expected, -expected], atol=1e-6)


def test_labels_are_masked_with_their_probability_and_never_in_evaluation():
    labels = jnp.full((100, 50), 7, jnp.int32)
    keys = DropoutKeys.of(jax.random.key(0))
    masked = losses.mask_labels(labels, 0.3, keys)
    assert set(np.unique(masked)) == {0, 7}
    assert float((masked == 0).mean()) == pytest.approx(0.3, abs=0.03)  # 5 standard deviations
    assert losses.mask_labels(labels, 0.3, None) is labels


def test_the_decoder_is_fed_what_it_must_predict_one_step_earlier():
    labels = jnp.array([[4, 2, 0]], jnp.int32)
    np.testing.assert_array_equal(losses.decoder_inputs(labels), [[0, 4, 2, 0]])


def test_masked_rows_do_not_count():
    values = jnp.array([1.0, jnp.nan, 3.0])
    for real, expected in (([True, False, True], 2.0), ([0, 0, 1], 3.0), ([0, 0, 0], 0.0)):
        assert float(losses.mean_over_rows(values, jnp.array(real, bool))) == expected

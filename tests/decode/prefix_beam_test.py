import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import exhaustive
from wsign_jax.decode.prefix_beam import IMPOSSIBLE, ctc_log_prob, ctc_prefix_beam_search

search = jax.jit(ctc_prefix_beam_search, static_argnums=(2, 3))
log_prob = jax.jit(ctc_log_prob)


def random_log_probs(rng, patches, vocab_size, peak=2.0):
    return exhaustive.log_softmax(rng.normal(0, peak, size=(patches, vocab_size)))


def batch(*problems):
    """(N, V) log posteriors of several lengths -> a padded batch, garbage in the padding."""
    longest = max(map(len, problems))
    padded = np.full((len(problems), longest, problems[0].shape[1]), -0.1, np.float32)
    for row, problem in zip(padded, problems, strict=True):
        row[: len(problem)] = problem
    return jnp.asarray(padded), jnp.asarray([len(p) for p in problems], jnp.int32)


@pytest.mark.parametrize("with_lm", [False, True])
@pytest.mark.parametrize(("patches", "vocab_size"), [(1, 2), (4, 4), (7, 3)])
def test_a_wide_beam_is_the_exhaustive_search(patches, vocab_size, with_lm):
    rng = np.random.default_rng([patches, vocab_size])
    lm = exhaustive.random_lm(rng, vocab_size) if with_lm else None
    weight, bonus = (0.7, 0.9) if with_lm else (0.0, 0.0)
    problems = [random_log_probs(rng, patches, vocab_size) for _ in range(4)]
    truths = [exhaustive.sequence_probabilities(problem) for problem in problems]
    # Room for every prefix of every sequence, so that none is ever dropped.
    beam_size = max(map(len, truths))
    beams = search(*batch(*problems), beam_size, patches, lm, weight, bonus)
    for row, truth in enumerate(truths):
        expected = {
            labels: score
            + (weight * exhaustive.lm_score(lm, labels) if with_lm else 0.0)
            + bonus * len(labels)
            for labels, score in truth.items()
        }
        found = exhaustive.hypotheses(beams, row)
        assert len(found) == len(expected) and len(dict(found)) == len(found)
        best = max(expected, key=expected.get)
        assert found[0][0] == best and found[0][1] == pytest.approx(expected[best], abs=1e-4)
        for labels, score in found:
            assert score == pytest.approx(expected[labels], abs=1e-4), labels
        assert [score for _, score in found] == sorted(dict(found).values(), reverse=True)


def test_a_narrow_beam_never_scores_above_the_truth_and_gains_with_width():
    rng = np.random.default_rng(0)
    problems = [random_log_probs(rng, 7, 4, peak=1.0) for _ in range(16)]
    truths = [exhaustive.sequence_probabilities(problem) for problem in problems]
    means, exact = [], []
    for beam_size in (1, 4, 32):
        beams = search(*batch(*problems), beam_size, 7)
        found = [exhaustive.hypotheses(beams, row)[0] for row in range(16)]
        for (labels, score), truth in zip(found, truths, strict=True):
            assert score <= truth[labels] + 1e-4
        means.append(np.mean([truth[x] for (x, _), truth in zip(found, truths, strict=True)]))
        exact.append(
            np.mean([x == max(t, key=t.get) for (x, _), t in zip(found, truths, strict=True)])
        )
    assert means == sorted(means) and means[0] < means[-1]
    assert exact == sorted(exact) and exact[-1] == 1.0


def test_leaving_out_unlikely_glosses_changes_nothing():
    """Six of 40 glosses may extend a hypothesis of three; a language model's search keeps all 40."""
    rng = np.random.default_rng(1)
    problems = batch(*(random_log_probs(rng, 12, 41) for _ in range(8)))
    some = search(*problems, 3, 12)
    every = search(*problems, 3, 12, exhaustive.random_lm(rng, 41), 0.0)
    np.testing.assert_array_equal(some.labels, every.labels)
    np.testing.assert_allclose(some.scores, every.scores, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=4, max_size=4),
    seed=st.integers(0, 999),
    with_lm=st.booleans(),
)
def test_batch_and_padding_never_change_an_answer(lengths, seed, with_lm):
    rng = np.random.default_rng(seed)
    lm = exhaustive.random_lm(rng, 6) if with_lm else None
    problems = [random_log_probs(rng, 9, 6)[:length] for length in lengths]
    padded = rng.normal(size=(4, 12, 6)).astype(np.float32)
    for row, problem in zip(padded, problems, strict=True):
        row[: len(problem)] = problem
    together = search(jnp.asarray(padded), jnp.asarray(lengths, jnp.int32), 4, 5, lm, 0.5, 0.1)
    for row, length in enumerate(lengths):
        alone = np.full((1, 9, 6), 7.0, np.float32)
        alone[0, :length] = problems[row]
        single = search(jnp.asarray(alone), jnp.asarray([length], jnp.int32), 4, 5, lm, 0.5, 0.1)
        assert exhaustive.hypotheses(single, 0) == [
            (labels, pytest.approx(score, abs=1e-5))
            for labels, score in exhaustive.hypotheses(together, row)
        ]


def test_repeats_survive_and_silence_is_empty():
    sure = {"blank": [0.98, 0.01, 0.01], "a": [0.01, 0.98, 0.01], "b": [0.01, 0.01, 0.98]}

    def say(*names):
        return np.log([sure[name] for name in names])

    spoken = [
        (say("a", "a", "blank", "a", "b"), (1, 1, 2)),
        (say("a", "a", "a", "a", "b"), (1, 2)),
        (say("blank", "blank", "blank"), ()),
    ]
    beams = search(*batch(*(log_probs for log_probs, _ in spoken)), 4, 5)
    for row, (_, labels) in enumerate(spoken):
        assert exhaustive.hypotheses(beams, row)[0][0] == labels


def test_no_hypothesis_is_longer_than_allowed():
    rng = np.random.default_rng(2)
    problems = [random_log_probs(rng, 9, 5, peak=4.0) for _ in range(4)]
    beams = search(*batch(*problems), 6, 2)
    assert beams.labels.shape == (4, 6, 2) and int(beams.label_lengths.max()) == 2


def test_minus_infinity_is_only_impossible():
    posteriors = np.array([[[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]])
    log_probs = np.full(posteriors.shape, -np.inf)
    np.log(posteriors, out=log_probs, where=posteriors > 0)
    beams = search(jnp.asarray(log_probs, jnp.float32), jnp.array([2], jnp.int32), 8, 2)
    found = dict(exhaustive.hypotheses(beams, 0))
    likely = {labels: np.exp(score) for labels, score in found.items() if score > -100}
    assert likely == {
        (2,): pytest.approx(0.375),
        (1,): pytest.approx(0.25),
        (1, 2): pytest.approx(0.375),
    }


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_probability_of_a_given_hypothesis_is_the_sum_over_its_paths(seed):
    rng = np.random.default_rng(seed)
    problem = random_log_probs(rng, 5, 3)
    truth = exhaustive.sequence_probabilities(problem)
    chosen = [labels for labels in truth if len(labels) <= 4]
    padded = np.zeros((1, 12, 4), np.int32)
    chosen = [chosen[i] for i in rng.choice(len(chosen), 11, replace=False)] + [(1, 1, 1, 1)]
    for row, labels in zip(padded[0], chosen, strict=True):
        row[: len(labels)] = labels
    garbage = np.concatenate([problem, rng.normal(size=(2, 3))])[None]
    lengths = np.array([[len(labels) for labels in chosen]], np.int32)
    found = log_prob(
        jnp.asarray(garbage, jnp.float32),
        jnp.array([5], jnp.int32),
        jnp.asarray(padded),
        jnp.asarray(lengths),
    )[0]
    for labels, score in zip(chosen[:-1], found[:-1], strict=True):
        assert float(score) == pytest.approx(truth[labels], abs=1e-4), labels
    assert float(found[-1]) < IMPOSSIBLE / 2  # 1 1 1 1 needs seven patches

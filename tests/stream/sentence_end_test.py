import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wsign_jax.evaluate.decoder_settings import choose_settings
from wsign_jax.evaluate.evaluate import make_search
from wsign_jax.keypoints.track import no_frames
from wsign_jax.stream import sentence_end
from wsign_jax.train.validation import EncodedBatch

V = 6  # of the run


@pytest.fixture
def ended(opened):
    """An endpointer of half a second, for sentences of at most 20 patches."""
    _, run = opened
    config = run.config.copy_and_resolve_references()
    config.data.max_seq_length = 80
    return sentence_end.Endpointer(dataclasses.replace(run, config=config), 0.5)


def frames(count, speed):
    """A right hand that moves so fast, and arrives at 0 in the last of n frames."""
    found = no_frames(count)
    found.confidence[:, 1] = 0.9
    found.positions[:, 21:, 0] = speed / 60 * np.arange(1 - count, 1)[:, None]
    return found


def patches(*ids):
    """States and log posteriors with these best ids."""
    log_probs = np.full((len(ids), V), -9.0, np.float32)
    log_probs[np.arange(len(ids)), ids] = -0.01
    states = np.random.default_rng(len(ids)).normal(size=(len(ids), 128)).astype(np.float32)
    return states, log_probs


def test_rest_ends_a_sentence_once(ended):
    ended.see(frames(32, 0.5))
    assert ended.add(0, *patches(0, 1, 1, 0, 2, 0, 0, 0)) == []
    ended.see(frames(30, 0.0))  # the last of them is judged by the next
    assert ended.add(8, *patches(0, 0, 0, 0)) == []  # not long enough yet
    ended.see(frames(1, 0.0))
    [sentence] = ended.add(12, *patches(0, 0))
    assert sentence.score < 0 and sentence.glosses
    assert all(0 <= gloss.start < gloss.end <= 14 * 4 / 60 for gloss in sentence.glosses)
    assert ended.is_empty
    ended.see(frames(60, 0.0))
    assert ended.add(14, *patches(0, 0)) == [] == ended.close(at_end=True)


def test_no_gloss_is_cut_in_two(ended):
    ended.see(frames(60, 0.0))
    [first] = ended.add(0, *patches(0, 1, 0, 2))  # the last goes on
    assert not ended.is_empty
    assert all(gloss.end <= 3 * 4 / 60 for gloss in first.glosses)
    [second] = ended.add(4, *patches(2, 0))
    assert all(gloss.start >= 3 * 4 / 60 for gloss in second.glosses)


def test_a_sentence_without_end_is_closed_at_the_longest_trained(ended):
    ended.see(frames(32, 0.5))
    closed = []
    for first in range(0, 400, 4):
        closed += ended.add(first, *patches(1, 0, 2, 0))
        assert len(ended._kept.best) <= 20
    assert len(closed) == 19
    gloss_upon_gloss = [ended.add(first, *patches(1, 2, 1, 2)) for first in range(400, 480, 4)]
    assert sum(map(len, gloss_upon_gloss)) >= 3 and len(ended._kept.best) <= 20


def test_a_sentence_is_what_the_tuned_decoder_says_of_it(ended, opened):
    _, run = opened
    states, log_probs = patches(0, 1, 1, 0, 2, 0, 3, 3, 0)
    ended.add(0, *patches(0, 0, 1, 0))
    ended.see(frames(60, 0.0))
    ended.add(4, *patches(0))  # closes what was before
    [sentence] = ended.add(5, states, log_probs)
    settings = choose_settings(run, "rescore")
    one = jnp.array([0], jnp.int32)
    encoded = EncodedBatch(*map(jnp.asarray, (states[None], log_probs[None], one + 9, one, one)))
    search = jax.jit(make_search(run, settings))
    beams, found = search(run.params, encoded, settings.weights, None)
    count = int(beams.label_lengths[0, 0])
    labels = run.vocabulary.glosses(beams.labels[0, 0, :count].tolist())
    assert [gloss.label for gloss in sentence.glosses] == labels
    assert sentence.score == pytest.approx(float(beams.scores[0, 0]), rel=1e-4)
    starts = (np.asarray(found.starts)[0, :count] + 5) * 4 / 60
    np.testing.assert_allclose([gloss.start for gloss in sentence.glosses], starts)
    np.testing.assert_allclose(
        [gloss.confidence for gloss in sentence.glosses],
        np.asarray(found.confidences)[0, :count],
        atol=1e-5,
    )


def test_a_chunk_longer_than_the_longest_trained(opened):
    _, run = opened
    config = run.config.copy_and_resolve_references()
    config.data.max_seq_length = 4
    ended = sentence_end.Endpointer(dataclasses.replace(run, config=config), 0.5, 6)
    assert ended.add(0, *patches(0, 1, 0, 2, 0, 0)) == []
    [sentence] = ended.close(at_end=True)
    assert all(gloss.end <= 6 * 4 / 60 for gloss in sentence.glosses)

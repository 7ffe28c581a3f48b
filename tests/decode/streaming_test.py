import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import exhaustive
from wsign_jax.decode.align import align_labels
from wsign_jax.decode.joint import Weights
from wsign_jax.decode.prefix_beam import ctc_prefix_beam_search
from wsign_jax.decode.streaming import GreedyStreamDecoder, PatchRun, PrefixBeamDecoder, extend_run
from wsign_jax.report.metrics import edit_counts

V, C, LONGEST = 5, 4, 40
NO_LM = Weights(lm_weight=0.0)
search = jax.jit(ctc_prefix_beam_search, static_argnums=(2, 3))
aligned = jax.jit(align_labels)


def streamed(decoder, log_probs):
    """The glosses of all chunks, and that nothing is told twice or before its time."""
    state, stable = decoder.start(), []
    for first in range(0, len(log_probs), C):
        new, state = decoder.extend(state, log_probs[first : first + C], first)
        for run in new + [state.run] * bool(state.run.id):
            assert run.start < run.end <= first + C
        stable += new
    stable += decoder.finish(state)
    for before, after in itertools.pairwise(stable):
        assert before.end + (before.id == after.id) <= after.start
    return stable


def whole(log_probs, lm=None, weights=NO_LM):
    """Prefix beam search over everything at once: labels and their spans."""
    padded = np.zeros((1, LONGEST, V), np.float32)
    padded[0, : len(log_probs)] = log_probs
    length = jnp.array([len(log_probs)], jnp.int32)
    best = search(padded, length, 6, C + 32, lm, weights.lm_weight, weights.label_bonus).best
    found = aligned(padded, length, best.labels[:, 0], best.label_lengths[:, 0])
    count = int(best.label_lengths[0, 0])
    return [
        (int(best.labels[0, 0, u]), int(found.starts[0, u]), int(found.ends[0, u]))
        for u in range(count)
    ]


def peaks(rng, patches, margin):
    """(N, V) log posteriors of glosses and blanks that are surer than the rest by a margin."""
    ids = np.repeat(rng.integers(0, V, size=patches) * rng.integers(0, 2, size=patches), 2)[
        :patches
    ]
    scores = rng.normal(size=(patches, V))
    scores[np.arange(patches), ids] += margin
    return exhaustive.log_softmax(scores).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, LONGEST), st.integers(0, 999))
def test_clear_posteriors_give_what_the_whole_search_gives(patches, seed):
    log_probs = peaks(np.random.default_rng(seed), patches, 12.0)
    decoder = PrefixBeamDecoder(C, V, 6, NO_LM, None)
    found = streamed(decoder, log_probs)
    assert [run[:3] for run in found] == whole(log_probs)
    greedy = streamed(GreedyStreamDecoder(), log_probs)
    assert [run[:3] for run in found] == [run[:3] for run in greedy]
    for run, other in zip(found, greedy, strict=True):
        assert run.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_with_doubtful_posteriors_it_is_nearer_to_the_whole_search_than_greedy():
    rng = np.random.default_rng(0)
    decoder = PrefixBeamDecoder(C, V, 6, NO_LM, None)
    online = greedy = 0
    for _ in range(60):
        log_probs = peaks(rng, LONGEST, 2.0)
        expected = [gloss for gloss, *_ in whole(log_probs)]
        online += edit_counts(expected, [run.id for run in streamed(decoder, log_probs)]).errors
        greedy += edit_counts(
            expected, [run.id for run in streamed(GreedyStreamDecoder(), log_probs)]
        ).errors
    assert online < 0.8 * greedy, (online, greedy)


def test_the_language_model_has_its_say():
    table = np.full((V, V), -9.0, np.float32)
    table[0, 1] = table[1, 2] = table[2, 0] = 0.0  # 1 2 and the end
    lm, weights = exhaustive.TableLM(jnp.asarray(table)), Weights(lm_weight=1.0)
    log_probs = np.full((8, V), -9.0, np.float32)
    log_probs[[0, 2, 3, 4, 6, 7], 0] = -0.01
    log_probs[1, 1] = -0.01
    log_probs[5, [2, 3]] = -1.2, -0.5  # 3 is likelier, but not after 1
    with_lm = streamed(PrefixBeamDecoder(C, V, 6, weights, lm), log_probs)
    assert [run[:3] for run in with_lm] == whole(log_probs, lm, weights) == [(1, 1, 2), (2, 5, 6)]
    assert [run.id for run in streamed(GreedyStreamDecoder(), log_probs)] == [1, 3]


def test_a_gloss_without_end_is_told_in_time():
    log_probs = np.full((400, V), -9.0, np.float32)
    log_probs[3:, 2] = -0.01
    log_probs[:3, 0] = -0.01
    decoder = PrefixBeamDecoder(C, V, 6, NO_LM, None)
    state, stable = decoder.start(), []
    for first in range(0, 400, C):
        new, state = decoder.extend(state, log_probs[first : first + C], first)
        stable += new
    [run] = stable + decoder.finish(state)
    assert run.id == 2 and run.start == 3


def test_hours_do_not_wear_out_the_scores():
    decoder = PrefixBeamDecoder(C, V, 6, NO_LM, None)
    state = decoder.start()
    log_probs = peaks(np.random.default_rng(0), LONGEST, 1.0)
    for number in range(500):
        rows = log_probs[number % 10 * C :][:C]
        _, state = decoder.extend(state, rows, number * C)
        total = np.asarray(state.prefixes.total)
    assert -60 < total.max() < 5  # some 4,000 below zero, were it never taken off


def test_a_gloss_after_a_silence_that_was_passed_over_is_where_it_was_signed():
    chunk = np.full((C, V), -9.0, np.float32)
    chunk[[0, 1, 2, 3], [0, 1, 0, 0]] = -1e-3
    decoder = PrefixBeamDecoder(C, V, 4, NO_LM, None)
    before, state = decoder.extend(decoder.start(), chunk, 0)
    chunk[1, 1] = -0.1  # less sure than before the silence
    after, _ = decoder.extend(state, chunk, 100)
    assert [(run.id, run.start, run.end) for run in before + after] == [(1, 1, 2), (1, 101, 102)]


V_OF_RUNS = 4


def log_probs_of(ids):
    """(N, V) log posteriors with these best ids, each a little surer than the one before."""
    result = np.full((len(ids), V_OF_RUNS), -5.0, np.float32)
    result[np.arange(len(ids)), ids] = np.linspace(-1.0, -0.5, len(ids))
    return result


@given(
    st.lists(st.integers(0, V_OF_RUNS - 1), max_size=40),
    st.lists(st.integers(0, 7), min_size=1, max_size=8).filter(any),
)
def test_in_any_parts_repeats_survive_and_nothing_is_doubled(ids, parts):
    log_probs = log_probs_of(ids)
    expected = []  # id, start, end
    for patch, id in enumerate(ids):
        if patch and ids[patch - 1] == id:
            expected[-1][2] = patch + 1
        else:
            expected.append([id, patch, patch + 1])
    expected = [tuple(run) for run in expected if run[0]]

    run, found, first, part = PatchRun(), [], 0, 0
    while first < len(ids):
        rows = log_probs[first : first + parts[part % len(parts)]]
        ended, run = extend_run(run, rows, first)
        found += ended
        first, part = first + len(rows), part + 1
    found += [run] if run.id else []
    assert [tuple(run[:3]) for run in found] == expected
    for run in found:
        assert run.log_prob == log_probs[run.end - 1, run.id]

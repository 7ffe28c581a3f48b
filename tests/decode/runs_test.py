import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsign_jax.decode.runs import Run, extend

V = 4


def log_probs_of(ids):
    """(N, V) log posteriors with these best ids, each a little surer than the one before."""
    result = np.full((len(ids), V), -5.0, np.float32)
    result[np.arange(len(ids)), ids] = np.linspace(-1.0, -0.5, len(ids))
    return result


@given(
    st.lists(st.integers(0, V - 1), max_size=40),
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

    run, found, first, part = Run(), [], 0, 0
    while first < len(ids):
        rows = log_probs[first : first + parts[part % len(parts)]]
        ended, run = extend(run, rows, first)
        found += ended
        first, part = first + len(rows), part + 1
    found += [run] if run.id else []
    assert [tuple(run[:3]) for run in found] == expected
    for run in found:
        assert run.log_prob == log_probs[run.end - 1, run.id]

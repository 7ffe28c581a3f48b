import dataclasses

import numpy as np
import pytest

from tests.helpers.decoded import sentence
from wsign_jax.report.metrics import EditCounts


def test_edits_of_a_sentence():
    decoded = sentence(reference=(1, 2, 3), hypothesis=(1, 4))
    assert decoded.aligned == (("C", 1, 1), ("D", 2, None), ("S", 3, 4))
    assert decoded.counts == EditCounts(1, 1, 0, 3)
    assert sentence(reference=(1,), hypothesis=(1, 2)).aligned == (("C", 1, 1), ("I", None, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0.0}, r"a: a recording of 0\.0 seconds"),
        ({"spans": np.zeros((2, 2))}, r"a: spans have shape \(2, 2\), not \(3, 2\)"),
        ({"confidences": np.zeros(4)}, r"a: confidences have shape \(4,\), not \(3,\)"),
        ({"segments": np.zeros((3, 3))}, r"a: segments have shape \(3, 3\), not \(3, 2\)"),
        ({"posteriors": np.zeros((9, 4))}, r"a: posteriors have shape \(9, 4\), not \(30, 4\)"),
        ({"posterior_ids": (1, 2, 3, 0)}, "a: the first of posterior_ids is not the blank"),
    ],
)
def test_what_does_not_agree_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(sentence(), **change)


def test_posteriors_may_be_left_out():
    without = dataclasses.replace(
        sentence(), posterior_ids=(), posteriors=np.zeros((30, 0), np.float16)
    )
    assert without.posteriors.size == 0 and without.counts == sentence().counts

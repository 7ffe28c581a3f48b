import dataclasses

import numpy as np

from tests.helpers.decoded import sentence
from wsign_jax.report.metrics import EditCounts


def test_edits_of_a_sentence():
    decoded = sentence(reference=(1, 2, 3), hypothesis=(1, 4))
    assert decoded.aligned == (("C", 1, 1), ("D", 2, None), ("S", 3, 4))
    assert decoded.counts == EditCounts(1, 1, 0, 3)
    assert sentence(reference=(1,), hypothesis=(1, 2)).aligned == (("C", 1, 1), ("I", None, 2))


def test_posteriors_may_be_left_out():
    without = dataclasses.replace(
        sentence(), posterior_ids=(), posteriors=np.zeros((30, 0), np.float16)
    )
    assert without.posteriors.size == 0 and without.counts == sentence().counts

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import exhaustive
from wsign_jax.decode.decoders import DECODERS, Search, decode
from wsign_jax.decode.joint import Weights

V, N, ROWS = 4, 4, 4
DECODER, ENCODED, PATCHES = exhaustive.random_decoder(ROWS, N, V)
LOG_PROBS = jnp.asarray(
    exhaustive.log_softmax(np.random.default_rng(0).normal(0, 2, size=(ROWS, N, V))), jnp.float32
)


class Model:
    decoder = DECODER


@pytest.mark.parametrize("name", DECODERS)
def test_how_far_a_batch_is_padded_changes_no_sentence(name):
    # Without CTC, and paid for every gloss, nothing but the limit ends a hypothesis.
    weights = Weights(0.0, 0.0, 3.0)
    search = jax.jit(lambda *found: decode(Search(name, 3), Model, *found, PATCHES, weights))
    padding = ((0, 0), (0, 5), (0, 0))
    encoded = jnp.pad(ENCODED, padding, constant_values=7.0)
    log_probs = jnp.pad(LOG_PROBS, padding, constant_values=-0.01)
    short, long = search(ENCODED, LOG_PROBS), search(encoded, log_probs)
    for row in range(ROWS):
        labels = exhaustive.hypotheses(short, row)[0][0]
        assert exhaustive.hypotheses(long, row)[0][0] == labels
        assert len(labels) <= PATCHES[row]

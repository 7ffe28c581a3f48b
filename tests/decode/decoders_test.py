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


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("name", DECODERS)
def test_how_far_a_batch_is_padded_changes_no_sentence(name, beam_size):
    # Without CTC, and paid for every gloss, nothing but the limit ends a hypothesis.
    search, weights = Search(name, beam_size), Weights(0.0, 0.0, 3.0)
    padding = ((0, 0), (0, 5), (0, 0))
    encoded = jnp.pad(ENCODED, padding, constant_values=7.0)
    log_probs = jnp.pad(LOG_PROBS, padding, constant_values=-0.01)
    short = decode(search, Model, ENCODED, LOG_PROBS, PATCHES, weights)
    long = decode(search, Model, encoded, log_probs, PATCHES, weights)
    for row in range(ROWS):
        labels = exhaustive.hypotheses(short, row)[0][0]
        assert exhaustive.hypotheses(long, row)[0][0] == labels
        assert len(labels) <= PATCHES[row]

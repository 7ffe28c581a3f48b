"""Several runs as one: the likeliest of their hypotheses, and one line for what they cannot do."""

import dataclasses

import numpy as np
import optax
import pytest

from wsign_jax import Recognizer
from wsign_jax.common.errors import WSignError
from wsign_jax.data.vocab import Vocabulary
from wsign_jax.evaluate.trained_run import open_run
from wsign_jax.recognize.ensemble_backend import EnsembleBackend
from wsign_jax.recognize.run_backend import RunBackend
from wsign_jax.train.checkpoint import store
from wsign_jax.train.state import create_state


@pytest.fixture(scope="module")
def run_like(talkative_run, tmp_path_factory):
    """Makes a run like `talkative_run` with the glosses of its head in another order."""

    def make(**info):
        run = open_run(talkative_run)
        head = run.params["ctc_head"]
        params = {**run.params, "ctc_head": {**head, "kernel": head["kernel"][:, ::-1]}}
        state = create_state(params, optax.sgd(0.0), 1, ema=False, loss_scale=None)
        saved = store.Checkpoints(tmp_path_factory.mktemp("other"), keep=1)
        saved.save(state, dataclasses.replace(run.info, **info))
        saved.close()
        return saved.workdir

    return make


def test_of_each_run_s_hypothesis_the_likeliest_by_all_runs_wins(
    trained_run, talkative_run, run_like
):
    paths = sorted((trained_run[0] / "test" / "features").glob("*.npy"))
    features = [np.load(path) for path in paths]
    padded = np.zeros((len(features), max(map(len, features)), *features[0].shape[1:]), np.float32)
    for row, x in zip(padded, features, strict=True):
        row[: len(x)] = x
    lengths = np.array([len(x) for x in features])
    runs = talkative_run, run_like()
    alone = [Recognizer.load(run) for run in runs]
    hypotheses = [run.decode(padded, lengths) for run in alone]
    logits = [run.logits(padded, lengths) for run in alone]
    winners = []
    for row in range(len(features)):
        costs = [
            sum(ctc_cost(of_run[row], found[row]) for of_run in logits) for found in hypotheses
        ]
        winners.append(int(np.argmin(costs)))
    both = Recognizer.load(runs)
    assert both.decode(padded, lengths) == [hypotheses[run][row] for row, run in enumerate(winners)]
    assert len({tuple(map(tuple, found)) for found in hypotheses}) == 2
    own = [alone[run].transcribe(paths[row])[0] for row, run in enumerate(winners)]
    for transcript, expected in zip(both.transcribe(paths), own, strict=True):
        assert transcript.text == expected.text
        assert transcript.score == pytest.approx(expected.score, rel=1e-4)


def ctc_cost(logits, labels):
    """The negative log-likelihood of labels by optax."""
    labels = np.array([labels], np.int32).reshape(1, -1)
    padding = np.zeros((1, len(logits)), np.float32)
    return float(
        optax.ctc_loss(logits[None], padding, labels, np.zeros(labels.shape, np.float32))[0]
    )


def test_what_it_cannot_do_is_one_line(talkative_run, run_like):
    both = Recognizer.load([talkative_run, talkative_run])
    with pytest.raises(WSignError, match="no rescore decoder; give 'greedy'"):
        both.prepare(decoder="rescore")
    with pytest.raises(WSignError, match="do not stream; load one of them"):
        both.stream()
    with pytest.raises(WSignError, match="keep no signs; load one of them to enroll"):
        both.forget("G1")
    with pytest.raises(WSignError, match="no run is named; give a list"):
        Recognizer.load([])
    names = Vocabulary(("<blank>", "other", "G2", "G3", "G4", "G5"))
    with pytest.raises(WSignError, match="know different glosses; load runs of one"):
        Recognizer.load([talkative_run, run_like(vocabulary=names)])
    one, other = RunBackend(talkative_run), RunBackend(talkative_run)
    other.settings = dataclasses.replace(one.settings, patch_size=1)
    with pytest.raises(WSignError, match="differ in patch_size"):
        EnsembleBackend([one, other])

"""Several runs as one `Backend`: of their hypotheses, the one that all together find the likeliest.

Each run decodes greedily. CTC's log probability of each hypothesis is summed over the runs. The mean of
their posteriors, patch by patch, was worse than a single run: the peaks of two runs lie in different
patches, and the blank wins.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.common.errors import WSignError
from wsign_jax.decode.align import align_labels
from wsign_jax.decode.calibration import NOT_CALIBRATED
from wsign_jax.decode.decoders import GREEDY
from wsign_jax.decode.greedy import ctc_greedy
from wsign_jax.decode.prefix_beam import Beams
from wsign_jax.model import whisper_sign
from wsign_jax.model.whisper_sign import Params
from wsign_jax.recognize.backend import Program, RecognizedBatch
from wsign_jax.recognize.enrollment import Enrolled
from wsign_jax.recognize.run_backend import (
    AttentionWindow,
    RunBackend,
    blank_without_hands,
    encode_keypoints,
)
from wsign_jax.train import losses

_IMPOSSIBLE = -1e5  # a log probability, as in the loss
# What members must share, so that they take the same recordings, and their patches the same frames.
_SHARED = ("patch_size", "look_ahead", "aspect", "positions")


class EnsembleBackend:
    """Runs of one vocabulary, such as one config's with several seeds; their sizes may differ.

    The logits, times and confidences, which are not calibrated, are those of the run that found the
    hypothesis. It neither streams nor keeps enrolled signs.
    """

    def __init__(self, members: Sequence[RunBackend]):
        """Takes one run or more; the first one's window is the default.

        Raises:
            WSignError: the list is empty, or they know different glosses or take different input.
        """
        if not members:
            raise WSignError("no run is named; give a list of runs' folders")
        self._members = tuple(members)
        first = members[0]
        self.settings, self.vocabulary = first.settings, first.vocabulary
        for other in members[1:]:
            _check_alike(first, other)
        self._step = jax.jit(self._recognize)

    def program(self, decoder: str, chunk: int, left_context: int) -> Program:
        """Returns the greedy program for a window; see `Backend`."""
        if decoder != GREEDY:
            raise WSignError(f"several runs as one have no {decoder} decoder; give 'greedy'")
        params = tuple(member.trained.params for member in self._members)
        window = np.int32(chunk), np.int32(left_context)

        def run(
            keypoints: np.ndarray, hands: np.ndarray, frames: np.ndarray, no_hands: np.ndarray
        ) -> RecognizedBatch:
            return self._step(params, keypoints, hands, frames, no_hands, window)

        return Program(run, chunk, NOT_CALIBRATED, unknown=None)

    def stream(
        self, chunk: int | None, left_context: int | None, decoder: str, endpoint_seconds: float
    ) -> NoReturn:
        """Raises: an ensemble does not stream."""
        raise WSignError("several runs as one do not stream; load one of them")

    def read_enrolled(self) -> Enrolled:
        """Returns no sign; see `Backend`."""
        return Enrolled(self.vocabulary)

    def change_enrolled(self, change: Callable[[Enrolled], Enrolled]) -> NoReturn:
        """Raises: an ensemble keeps no signs."""
        raise WSignError("several runs as one keep no signs; load one of them to enroll")

    def _recognize(
        self,
        params: tuple[Params, ...],
        keypoints: jax.Array,
        hands: jax.Array,
        frames: jax.Array,
        no_hands: jax.Array,
        window: AttentionWindow,
    ) -> RecognizedBatch:
        runs = []
        for member, values in zip(self._members, params, strict=True):
            model = whisper_sign.bind_params(member.trained.network.graph, values)
            _, logits, patches = encode_keypoints(model, keypoints, hands, frames, window)
            log_probs = blank_without_hands(jax.nn.log_softmax(logits), no_hands)
            runs.append((logits, log_probs, ctc_greedy(log_probs, patches)))
        # Finite, since the loss takes differences.
        posteriors = [jnp.maximum(log_probs, _IMPOSSIBLE) for _, log_probs, _ in runs]
        scores = [_log_probability(posteriors, patches, beams) for _, _, beams in runs]
        best, row = jnp.argmax(jnp.stack(scores), axis=0), jnp.arange(len(frames))
        logits, log_probs, beams = jax.tree.map(lambda *each: jnp.stack(each)[best, row], *runs)
        alignment = align_labels(log_probs, patches, beams.labels[:, 0], beams.label_lengths[:, 0])
        return RecognizedBatch(logits, patches, beams, alignment)


def _log_probability(posteriors: list[jax.Array], patches: jax.Array, beams: Beams) -> jax.Array:
    """CTC's log probability of a hypothesis a row, summed over the runs: (B,)."""
    labels, lengths = beams.labels[:, 0], beams.label_lengths[:, 0]
    loss = sum(losses.ctc_loss(x, patches, labels, lengths) for x in posteriors)
    return -loss * jnp.maximum(lengths, 1).astype(jnp.float32)  # by which the loss was divided


def _check_alike(first: RunBackend, other: RunBackend) -> None:
    names = f"{first.trained.workdir} and {other.trained.workdir}"
    if first.vocabulary.names != other.vocabulary.names:
        raise WSignError(f"{names} know different glosses; load runs of one label_map.json")
    for field in _SHARED:
        one, two = (getattr(x.settings, field) for x in (first, other))
        if one != two:
            raise WSignError(f"{names} differ in {field}, {one} and {two}; load runs of one config")

"""All decoders behind one function, and the times of the glosses that they find."""

import dataclasses

import jax
import jax.numpy as jnp

from wsign_jax.decode.align import Alignment, align_labels
from wsign_jax.decode.greedy import ctc_greedy
from wsign_jax.decode.joint import Weights, joint_beam_search, rescore
from wsign_jax.decode.lm.lookup import LanguageModel
from wsign_jax.decode.prefix_beam import Beams, ctc_prefix_beam_search
from wsign_jax.model.whisper_sign import WhisperSign

GREEDY = "greedy"
DECODERS = (GREEDY, "prefix_beam", "attention", "rescore", "joint")
LARGEST_BEAM = 1000  # memory and time grow with it
NEED_ATTENTION = frozenset({"attention", "rescore", "joint"})


@dataclasses.dataclass(frozen=True)
class Search:
    """The settings of a search; they are constants in a compiled program."""

    decoder: str = GREEDY  # one of DECODERS
    beam_size: int = 10
    max_labels: int = 64  # the longest hypothesis of a beam

    @property
    def weights_read(self) -> frozenset[str]:
        """The fields of `Weights` that make a difference."""
        if self.decoder == GREEDY:
            return frozenset()
        ctc = {"ctc_weight"} if self.decoder in ("rescore", "joint") else set()
        return frozenset({"lm_weight", "label_bonus", *ctc})


def decode(
    search: Search,
    model: WhisperSign,
    encoded: jax.Array,
    log_probs: jax.Array,
    patches: jax.Array,
    weights: Weights,
    lm: LanguageModel | None = None,
) -> Beams:
    """Decodes a batch.

    greedy       the best id of every patch (CTC)
    prefix_beam  CTC prefix beam search, with the language model
    attention    beam search with the attention decoder and the language model
    rescore      the beam of prefix_beam, ranked again with the attention decoder
    joint        one beam search with attention decoder, CTC and language model

    Args:
        search: which decoder, and its settings.
        model: the network, for its attention decoder.
        encoded: (B, N, D) from the encoder.
        log_probs: (B, N, V) from the CTC head.
        patches: (B,) valid patches.
        weights: those of a score's parts; `Search.weights_read` says which are read.
        lm: a language model over gloss ids.
    """
    if search.decoder == GREEDY:
        return ctc_greedy(log_probs, patches)
    room = min(search.max_labels, log_probs.shape[1])
    # By a row's own patches, so that padding does not change its result.
    limits = jnp.minimum(room, patches)
    if search.decoder in ("attention", "joint"):
        ctc = log_probs if search.decoder == "joint" else None
        return joint_beam_search(
            model.decoder, encoded, ctc, patches, search.beam_size, room, weights, lm, limits
        )
    beams = ctc_prefix_beam_search(
        log_probs, patches, search.beam_size, room, lm, weights.lm_weight, weights.label_bonus
    )
    if search.decoder == "prefix_beam":
        return beams
    return rescore(model.decoder, encoded, log_probs, patches, beams, weights, lm)


def decode_and_align(
    search: Search,
    model: WhisperSign,
    encoded: jax.Array,
    log_probs: jax.Array,
    patches: jax.Array,
    weights: Weights,
    lm: LanguageModel | None = None,
) -> tuple[Beams, Alignment]:
    """Returns each row's best hypothesis and its alignment to the patches; arguments as in `decode`."""
    best = decode(search, model, encoded, log_probs, patches, weights, lm).best
    return best, align_labels(log_probs, patches, best.labels[:, 0], best.label_lengths[:, 0])

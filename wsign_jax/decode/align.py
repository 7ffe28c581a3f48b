"""CTC forced alignment: when each gloss of a known label sequence was signed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from wsign_jax.common.errors import WSignError, shown
from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.keypoints import joints


class Alignment(NamedTuple):
    """The spans in which the likeliest path emits each label; zeros beyond the label length."""

    starts: jax.Array  # (B, U) int32 first patch
    ends: jax.Array  # (B, U) int32 patch after the last
    confidences: jax.Array  # (B, U) float32 in [0, 1], uncalibrated
    scores: jax.Array  # (B,) float32 log probability of the path; -inf if there is no path


def align_labels(
    log_probs: jax.Array, lengths: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> Alignment:
    """Finds the likeliest path that collapses to the labels.

    This is Viterbi's algorithm over the 2U + 1 states of Graves et al. 2006, "Connectionist temporal
    classification", section 4.1.

    The confidence of a label is its highest posterior within its span. It tells right from wrong better
    than the mean, because CTC is sure of a label in a patch or two and less so at the edges.

    Args:
        log_probs: (B, N, V) log posteriors of the CTC head, float32.
        lengths: (B,) valid patches; patches beyond them change nothing. 0 in a masked row.
        labels: (B, U) right-padded.
        label_lengths: (B,); 0 aligns blanks alone.

    Returns:
        The alignment. A row has the score -inf and no spans if its labels need more patches than it
        has, or have probability 0.
    """
    states = jnp.arange(2 * labels.shape[1] + 1, dtype=jnp.int32)[None]
    symbols = _symbols(labels)
    # A path may skip the blank between two labels that differ.
    skips = (states % 2 == 1) & (symbols != jnp.roll(symbols, 2, axis=1)) & (states > 1)
    emitted = jnp.take_along_axis(log_probs, symbols[:, None], axis=2)  # (B, N, 2U + 1)
    in_time = jnp.arange(log_probs.shape[1], dtype=jnp.int32)[None] < lengths[:, None]  # (B, N)

    def forward(best: jax.Array, patch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        emission, valid = patch
        before = jnp.pad(best, ((0, 0), (2, 0)), constant_values=-jnp.inf)
        skip = jnp.where(skips, before[:, :-2], -jnp.inf)
        choices = jnp.stack([best, before[:, 1:-1], skip])
        # In a tie the path stays, so the answer is always the same.
        moves = jnp.argmax(choices, axis=0).astype(jnp.int8)
        moved = jnp.max(choices, axis=0) + emission
        valid = valid[:, None]
        return jnp.where(valid, moved, best), jnp.where(valid, moves, jnp.int8(0))

    def backward(state: jax.Array, moves: jax.Array) -> tuple[jax.Array, jax.Array]:
        move = jnp.take_along_axis(moves, state[:, None], axis=1)[:, 0]
        return state - move.astype(jnp.int32), state

    # Before the first patch every path is in the first blank.
    first = jnp.broadcast_to(jnp.where(states == 0, 0.0, -jnp.inf), symbols.shape)
    patches = (jnp.swapaxes(emitted, 0, 1), in_time.T)
    best, moves = jax.lax.scan(forward, first.astype(jnp.float32), patches)
    last, scores = _last_states(best, label_lengths)
    _, path = jax.lax.scan(backward, last, moves, reverse=True)
    possible = in_time & (scores > -jnp.inf)[:, None]
    return Alignment(*_spans(path.T, possible, emitted[..., 1::2]), scores)


def _symbols(labels: jax.Array) -> jax.Array:
    """Returns the states' ids, (B, 2U + 1) for (B, U) labels: a blank, then each label and a blank."""
    pairs = jnp.stack([labels, jnp.full_like(labels, BLANK_ID)], axis=2)
    pairs = pairs.reshape(labels.shape[0], -1).astype(jnp.int32)
    return jnp.pad(pairs, ((0, 0), (1, 0)), constant_values=BLANK_ID)


def _last_states(best: jax.Array, label_lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the better final state, the last label or the blank after it, and its score: (B,) each."""
    blank = 2 * label_lengths.astype(jnp.int32)
    ends = jnp.stack([blank, jnp.maximum(blank - 1, 0)], axis=1)
    scores = jnp.take_along_axis(best, ends, axis=1)
    chosen = jnp.argmax(scores, axis=1)[:, None]
    last, score = (jnp.take_along_axis(x, chosen, axis=1)[:, 0] for x in (ends, scores))
    return last, score


def _spans(
    path: jax.Array, possible: jax.Array, emitted: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns starts, ends and confidences of the labels, (B, U) each.

    `path` (B, N) is the state in every patch, `possible` (B, N) says which patches count, and `emitted`
    (B, N, U) is the log posterior of every label.
    """
    states = 2 * jnp.arange(emitted.shape[2], dtype=jnp.int32) + 1
    inside = possible[..., None] & (path[..., None] == states[None, None])
    starts = jnp.argmax(inside, axis=1).astype(jnp.int32)
    ends = starts + jnp.sum(inside, axis=1, dtype=jnp.int32)
    confidences = jnp.exp(jnp.max(jnp.where(inside, emitted, -jnp.inf), axis=1))
    return starts, ends, jnp.minimum(confidences, 1.0)


def spans_in_seconds(starts: np.ndarray, ends: np.ndarray, patch_size: int) -> np.ndarray:
    """Converts spans from patches to seconds: (U,) first patches, and (U,) patches after the last.

    Returns:
        (U, 2) float64 seconds from the first frame; the last patch may reach beyond the last frame.
    """
    return np.stack([starts, ends], axis=-1) * (patch_size / joints.FPS)


def times_and_confidences(
    alignment: Alignment, row: int, length: int, patches: int, patch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the times and confidences of a row's `length` glosses.

    `alignment` is that of a batch, on the host; `patches` is the row's number of valid patches.

    Returns:
        (U, 2) seconds from the first frame, and (U,) uncalibrated confidences.
    """
    if np.isfinite(alignment.scores[row]):
        starts, ends, confidences = (np.asarray(x[row, :length], float) for x in alignment[:3])
    else:
        # The attention decoder may find glosses that CTC has no patches for: all share the time evenly.
        edges = np.linspace(0, patches, length + 1)
        starts, ends, confidences = edges[:-1], edges[1:], np.zeros(length)
    return spans_in_seconds(starts, ends, patch_size), confidences


def check_decoder_name(decoder: Any) -> None:
    """Raises a `WSignError` if a decoder's name is not a string."""
    if not isinstance(decoder, str):
        raise WSignError(f"decoder is {shown(decoder)}; give a name, for example 'greedy'")

"""The hybrid loss: its two halves, per sequence and in float32, and the loss of a whole batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict, FrozenConfigDict

from wsign_jax.data.pipeline import Batch
from wsign_jax.data.vocab import BLANK_ID
from wsign_jax.model import whisper_sign
from wsign_jax.model.layers import DropoutKeys
from wsign_jax.model.whisper_sign import Params
from wsign_jax.train import augment, ctc, optimizer, stages

Metrics = dict[str, jax.Array]
Loss = Callable[[Params, Batch, stages.StepSettings, jax.Array], tuple[jax.Array, Metrics]]


def mask_beyond(lengths: jax.Array, size: int) -> jax.Array:
    """Turns (B,) lengths into a (B, size) float32 mask, which is 1 beyond the length."""
    positions = jnp.arange(size, dtype=jnp.int32)
    return (positions[None] >= lengths[:, None]).astype(jnp.float32)


def ctc_loss(
    logits: jax.Array, patches: jax.Array, labels: jax.Array, label_lengths: jax.Array
) -> jax.Array:
    """The negative log-likelihood of the labels under CTC, divided by their count.

    Args:
        logits: (B, N, V).
        patches: (B,) valid patches.
        labels: (B, U) right-padded.
        label_lengths: (B,).

    Returns:
        (B,) float32; about 1e5 if the labels cannot be emitted (the loader makes sure that they
        can), meaningless in a masked row.
    """
    logits = logits.astype(jnp.float32)
    if jax.default_backend() == "cpu":
        masks = mask_beyond(patches, logits.shape[1]), mask_beyond(label_lengths, labels.shape[1])
        total = optax.ctc_loss(logits, masks[0], labels, masks[1], blank_id=BLANK_ID)
    else:
        total = ctc.negative_log_likelihood(logits, patches, labels, label_lengths)
    return total / jnp.maximum(label_lengths, 1).astype(jnp.float32)


def consistency_loss(logits: jax.Array, patches: jax.Array, label_lengths: jax.Array) -> jax.Array:
    """How far the posteriors of two views of a sentence are apart, divided by the number of labels.

    The mean of the two Kullback-Leibler divergences in both directions, summed over the patches. Each
    view is drawn to the other's posteriors, which do not move for it: Yao et al. 2024,
    arXiv:2410.05101, equation 4.

    Args:
        logits: (2B, N, V) of CTC, the two views of a sentence one after the other.
        patches: (B,) valid patches.
        label_lengths: (B,).

    Returns:
        (B,) float32.
    """
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    views = log_probs.reshape(-1, 2, *log_probs.shape[1:])
    targets = jax.lax.stop_gradient(views[:, ::-1])
    apart = jnp.sum(jnp.exp(targets) * (targets - views), axis=-1)  # (B, 2, N)
    valid = 1.0 - mask_beyond(patches, logits.shape[1])
    total = 0.5 * jnp.sum(apart * valid[:, None], axis=(1, 2))
    return total / jnp.maximum(label_lengths, 1).astype(jnp.float32)


def decoder_inputs(labels: jax.Array) -> jax.Array:
    """Turns (B, U) labels into the (B, U + 1) ids to feed: 0 for the start, then the labels."""
    return jnp.pad(labels, ((0, 0), (1, 0)))


def mask_labels(labels: jax.Array, rate: float, keys: DropoutKeys | None) -> jax.Array:
    """Sets each of the (B, U) labels to 0 with a probability, so that the decoder looks at the hands.

    Without keys, as in evaluation, none.
    """
    if keys is None or rate == 0:
        return labels
    return jnp.where(jax.random.bernoulli(keys.next(), rate, labels.shape), BLANK_ID, labels)


def attention_loss(
    logits: jax.Array, labels: jax.Array, label_lengths: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of the attention decoder, a mean over a sentence's U + 1 targets.

    Targets are the labels and then 0 for the end, masked by length, never by id.

    Args:
        logits: (B, U + 1, V).
        labels: (B, U), zeros beyond the length.
        label_lengths: (B,).
        smoothing: label smoothing.

    Returns:
        The (B,) float32 loss, and the (B,) int32 number of targets that the likeliest id hits.
    """
    targets = jnp.pad(labels, ((0, 0), (0, 1)))
    counted = 1.0 - mask_beyond(label_lengths + 1, targets.shape[1])
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    likelihood = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    token_loss = -(1.0 - smoothing) * likelihood - smoothing * jnp.mean(log_probs, axis=-1)
    loss = jnp.sum(token_loss * counted, axis=-1) / jnp.sum(counted, axis=-1)
    hit = (jnp.argmax(logits, axis=-1) == targets) & (counted > 0)
    return loss, jnp.sum(hit, axis=-1, dtype=jnp.int32)


def mean_over_rows(values: jax.Array, real: jax.Array) -> jax.Array:
    """The mean of (B,) values over the rows that are (B,) real; 0 if all rows are masked."""
    kept = jnp.where(real, values, 0.0)
    return jnp.sum(kept) / jnp.maximum(jnp.sum(real, dtype=jnp.float32), 1.0)


def batch_loss(
    model: whisper_sign.WhisperSign,
    features: jax.Array,
    batch: Batch,
    settings: stages.StepSettings,
    smoothing: float,
    *,
    hybrid: bool,
    consistency: float = 0.0,
    decoder_mask: float = 0.0,
    dropout_keys: DropoutKeys | None = None,
    remat: bool = False,
) -> tuple[jax.Array, Metrics]:
    """The loss of a batch: alpha * CTC + (1 - alpha) * cross-entropy, or CTC alone.

    Args:
        model: the network.
        features: (B, T, J, F) normalized.
        batch: masked rows do not count.
        settings: alpha and the attention window.
        smoothing: label smoothing of the cross-entropy.
        hybrid: whether the attention decoder runs at all.
        consistency: the weight of `consistency_loss`, if each two rows are views of a sentence.
        decoder_mask: the share of labels that the attention decoder is not fed.
        dropout_keys: None evaluates without dropout.
        remat: see `WhisperSign.encode`.

    Returns:
        The scalar loss, and its parts under their log names without 'train/'.
    """
    encoded, patches = model.encode(
        features,
        batch.frames,
        chunk=settings.chunk,
        left_context=settings.left_context,
        remat=remat,
        dropout_keys=dropout_keys,
    )
    real = batch.frames > 0
    logits = model.ctc_logits(encoded, dropout_keys=dropout_keys)
    of_ctc = ctc_loss(logits, patches, batch.labels, batch.label_lengths)
    of_ctc = mean_over_rows(of_ctc, real)
    metrics = {"ctc": of_ctc}
    if consistency:
        apart = consistency_loss(logits, patches[::2], batch.label_lengths[::2])
        metrics["consistency"] = mean_over_rows(apart, real[::2])
        of_ctc += consistency * metrics["consistency"]
    if not hybrid:
        return of_ctc, metrics | {"loss": of_ctc}
    fed = mask_labels(batch.labels, decoder_mask, dropout_keys)
    logits = model.decoder(decoder_inputs(fed), encoded, patches, dropout_keys=dropout_keys)
    attention, _ = attention_loss(logits, batch.labels, batch.label_lengths, smoothing)
    attention = mean_over_rows(attention, real)
    loss = settings.alpha * of_ctc + (1.0 - settings.alpha) * attention
    return loss, metrics | {"loss": loss, "attention": attention}


def make_loss(
    graph: nnx.GraphDef,
    labels: Params,
    training: ConfigDict,
    augmentation: ConfigDict,
    *,
    hybrid: bool,
) -> Loss:
    """Makes the loss that a step differentiates, of parameters, a batch, settings and a dropout key.

    Args:
        graph: from `whisper_sign.build_network`.
        labels: 'train' or 'freeze' for every parameter.
        training: `config.training`.
        augmentation: `config.data.augment`.
        hybrid: whether the attention decoder takes part.
    """
    # Plain values, so that a later change of the config cannot change what is traced.
    smoothing, remat, seed = training.label_smoothing, training.remat, training.seed
    consistency, decoder_mask = training.consistency, training.decoder_mask
    augmentation = FrozenConfigDict(augmentation)

    def loss(
        params: Params, batch: Batch, settings: stages.StepSettings, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        model = whisper_sign.bind_params(graph, optimizer.stop_frozen(params, labels))
        features = augment.augmented_features(model, batch, seed, augmentation)
        if consistency:
            second = augment.augmented_features(model, batch, seed, augmentation, second_view=True)
            # One after the other, so that both lie on the device of their sentence.
            features = jnp.stack([features, second], axis=1).reshape(-1, *features.shape[1:])
            batch = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), batch)
        keys = DropoutKeys.of(key)
        return batch_loss(
            model,
            features,
            batch,
            settings,
            smoothing,
            hybrid=hybrid,
            consistency=consistency,
            decoder_mask=decoder_mask,
            dropout_keys=keys,
            remat=remat,
        )

    return loss

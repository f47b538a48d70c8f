"""Classification by the norms of class capsules."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from jaxcaps.config import AugmentationConfig, ClassifyConfig, ModelConfig
from jaxcaps.functional import (
    Routed,
    at_least_float32,
    coupling_entropy,
    margin_loss,
    select_capsule,
    spread_loss,
    spread_margin,
)
from jaxcaps.models import CapsNet, Decoder, Encoder
from jaxcaps.models.capsnet import dtypes
from jaxcaps.tasks.base import Examples, Shard, random_view

# Capsule norms lie in [0, 1]: unscaled, a softmax of three of them never exceeds 0.576. With 10 a margin of 0.9
# becomes odds of 8,000 to 1 (our choice; cross-entropy learns its scale from here).
NORM_SCALE = 10.0


class Views(NamedTuple):
    image: Float[Array, "batch height width 3"]


class Classifier(nnx.Module):
    """A CapsNet, and what its loss adds: a scale of the norms, a decoder."""

    def __init__(self, capsnet: CapsNet, classify: ClassifyConfig, model: ModelConfig, decoder: Decoder | None):
        self.encoder = capsnet.encoder
        self.class_capsules = capsnet.class_capsules
        self.decoder = decoder
        self.norm_scale = (
            nnx.Param(jnp.full((), NORM_SCALE, dtypes(model).parameters)) if classify.loss == "cross-entropy" else None
        )

    def __call__(self, images: Float[Array, "batch height width 3"]) -> Routed:
        routed: Routed = self.class_capsules(self.encoder(images).poses)
        return routed

    def logits(self, activations: Float[Array, "... classes"]) -> Float[Array, "... classes"]:
        """Activations on the scale of log-odds: the one place that says how capsules become probabilities.

        Spread and margin loss use the fixed scale 10, cross-entropy the scale it has learnt.
        """
        return at_least_float32(activations) * (NORM_SCALE if self.norm_scale is None else self.norm_scale[...])

    def probabilities(self, images: Float[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        return jax.nn.softmax(self.logits(self(images).activations))


@dataclass(frozen=True)
class Classify:
    """`--stage=finetune`."""

    reported: ClassVar[tuple[str, ...]] = ("train/classification", "train/accuracy", "validation/balanced_accuracy")

    model: ModelConfig
    classify: ClassifyConfig
    augmentation: AugmentationConfig
    image_size: int
    classes: int

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> Classifier:
        capsnet = CapsNet(self.classes, self.model, self.image_size, encoder=encoder, rngs=rngs)
        decoder = None
        if self.classify.reconstruction_weight:
            # Skips would let the decoder copy the picture past the capsules.
            plain = dataclasses.replace(self.model, decoder_skips=False)
            decoder = Decoder(self.classes, plain, self.image_size, rngs)
        return Classifier(capsnet, self.classify, self.model, decoder)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Views:
        return Views(random_view(key, image, self.augmentation, self.image_size, dtypes(self.model).parameters))

    def loss(
        self, modules: Classifier, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        routed = modules(views.image)
        activations = at_least_float32(routed.activations)
        if self.classify.loss == "spread":
            margin = spread_margin(progress).astype(activations.dtype)
            losses = jax.vmap(spread_loss, in_axes=(0, 0, None))(activations, examples.label, margin)
        elif self.classify.loss == "margin":
            losses = jax.vmap(margin_loss)(activations, examples.label)
        else:
            log_probabilities = jax.nn.log_softmax(modules.logits(activations))
            losses = -jnp.take_along_axis(log_probabilities, examples.label[:, None], axis=1)[:, 0]
        loss = shard.mean(losses, examples.valid)

        correct = (jnp.argmax(activations, axis=-1) == examples.label).astype(activations.dtype)
        metrics = {
            "classification": loss,
            "accuracy": shard.mean(correct, examples.valid),
            "coupling_entropy": shard.mean(jax.vmap(coupling_entropy)(routed.couplings), examples.valid),
        }
        if modules.decoder is not None:
            pictures = modules.decoder(jax.vmap(select_capsule)(routed.poses, examples.label))
            errors = jnp.mean((pictures - views.image.astype(pictures.dtype)) ** 2, axis=(1, 2, 3))
            metrics["reconstruction"] = shard.mean(errors, examples.valid)
            loss = loss + self.classify.reconstruction_weight * metrics["reconstruction"]
        return loss, {"loss": loss, **metrics}

    def notes(self, batch_size: int) -> list[str]:
        return []

    def pictures(self, modules: Classifier, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        """None: a classifier is shown by its confusion."""
        return {}

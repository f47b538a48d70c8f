"""Classification by the activations of class capsules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from jaxcaps.config import ClassifyConfig
from jaxcaps.lazy import functional, jax, jnp, models, nnx
from jaxcaps.tasks.base import Examples, Shard, Task, whole_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import Classifier, Encoder
    from jaxcaps.plan.config import Config


class Views(NamedTuple):
    """Attributes: image; factors of the primary capsules' poses, None without capsule dropout."""

    image: Float[Array, "batch height width channels"]
    factors: Float[Array, "batch capsules"] | None = None


def cross_entropy(logits: Float[Array, "classes"], label: Int[Array, ""]) -> Float[Array, ""]:
    return -jax.nn.log_softmax(logits)[label]


def smoothed(
    loss: Callable[..., Array],
    values: Float[Array, "batch classes"],
    labels: Int[Array, "batch"],
    smoothing: float,
) -> Float[Array, "batch"]:
    """The loss of each example's values and smoothed label."""

    def of_one(each: Array, label: Array) -> Array:
        return functional.smoothed_loss(partial(loss, each), label, classes=len(each), smoothing=smoothing)

    return jax.vmap(of_one)(values, labels)


@dataclass(frozen=True)
class CapsuleClassification(Task):
    """`--stage=finetune`."""

    layers: ClassVar = {"class_capsules": "routing", "decoder": "decoder", "norm_scale": "head"}
    decodes_pictures: ClassVar = True
    reported: ClassVar = ("train/classification", "train/accuracy", "validation/balanced_accuracy")

    options: ClassifyConfig
    classes: int

    @classmethod
    def make(cls, config: Config, dataset: Dataset) -> CapsuleClassification:
        size, classes = config.data.image_size, len(dataset.classes)
        return cls(config.model, config.augmentation, size, config.classify, classes)

    def notes(self, batch_size: int) -> list[str]:
        if self.options.loss != "spread":
            return []
        return ["Spread loss: its margin grows from 0.2 to 0.9, so the loss can rise while accuracy rises"]

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> Classifier:
        capsnet = models.CapsNet(self.classes, self.model, self.image_size, encoder=encoder, rngs=rngs)
        decoder = None
        if self.options.reconstruction_weight:
            # With skips, the decoder could bypass the capsules.
            plain = dataclasses.replace(self.model, decoder_skips=False)
            decoder = models.Decoder(self.classes, plain, self.image_size, rngs)
        learns_scale = self.options.loss == "cross-entropy"
        return models.Classifier(capsnet, self.model, decoder, learns_scale=learns_scale)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Views:
        if not self.options.capsule_dropout:
            return Views(self.random_view(key, image))
        of_view, of_capsules = jax.random.split(key)
        share = 1 - self.options.capsule_dropout
        capsules = models.primary_capsules(self.model, self.image_size)
        kept = jax.random.bernoulli(of_capsules, share, (capsules,))
        return Views(self.random_view(of_view, image), jnp.where(kept, 1 / share, 0.0))

    def loss(
        self, modules: Classifier, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        routed = modules(views.image, views.factors)
        activations = functional.at_least_float32(routed.activations)
        of_label: Callable[..., Array]
        if self.options.loss == "spread":
            margin = functional.spread_margin(progress).astype(activations.dtype)
            of_label, values = partial(functional.spread_loss, margin=margin), activations
        elif self.options.loss == "margin":
            of_label, values = functional.margin_loss, activations
        else:
            of_label, values = cross_entropy, modules.logits(activations)
        losses = smoothed(of_label, values, examples.label, self.options.label_smoothing)
        loss = shard.mean(losses, examples.valid)

        correct = (jnp.argmax(activations, axis=-1) == examples.label).astype(activations.dtype)
        metrics = {
            "classification": loss,
            "accuracy": shard.mean(correct, examples.valid),
            "coupling_entropy": shard.mean(jax.vmap(functional.coupling_entropy)(routed.couplings), examples.valid),
        }
        if modules.decoder is not None:
            pictures = modules.reconstruct(routed, examples.label)
            errors = jnp.mean((pictures - views.image.astype(pictures.dtype)) ** 2, axis=(1, 2, 3))
            metrics["reconstruction"] = shard.mean(errors, examples.valid)
            loss = loss + self.options.reconstruction_weight * metrics["reconstruction"]
        return loss, {"loss": loss, **metrics}

    def pictures(self, modules: Classifier, images: UInt8[Array, "batch height width channels"]) -> dict[str, Array]:
        """Reconstructs pictures from the capsule of the predicted class."""
        return {} if modules.decoder is None else nnx.jit(self._reconstructed)(modules, images)

    def _reconstructed(
        self, modules: Classifier, images: UInt8[Array, "batch height width channels"]
    ) -> dict[str, Array]:
        whole = whole_pictures(images, self.image_size)
        routed = modules(whole)
        best = jnp.argmax(routed.activations, axis=-1)
        return {"picture": whole, "reconstruction": modules.reconstruct(routed, best)}


TASK = CapsuleClassification

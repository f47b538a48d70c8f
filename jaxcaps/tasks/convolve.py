"""Classification by the plain convolutional network, with cross-entropy: the baseline of `tasks/classify.py`."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from jaxcaps.config import AugmentationConfig, ModelConfig
from jaxcaps.models import ConvNet, Encoder
from jaxcaps.models.capsnet import dtypes
from jaxcaps.tasks.base import Examples, Shard, random_view
from jaxcaps.tasks.classify import Views


@dataclass(frozen=True)
class ClassifyPlainly:
    """`--stage=finetune --architecture=convnet`."""

    model: ModelConfig
    augmentation: AugmentationConfig
    image_size: int
    classes: int
    reported: ClassVar[tuple[str, ...]] = ("train/accuracy", "validation/balanced_accuracy")

    def notes(self, batch_size: int) -> list[str]:
        return ["A plain convolutional network, as large as the capsule network would be; loss: cross-entropy"]

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> ConvNet:
        return ConvNet(self.classes, self.model, self.image_size, encoder=encoder, rngs=rngs)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width 3"]) -> Views:
        return Views(random_view(key, image, self.augmentation, self.image_size, dtypes(self.model).parameters))

    def loss(
        self, modules: ConvNet, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        logits = modules(views.image)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), examples.label[:, None], axis=1)[:, 0]
        loss = shard.mean(losses, examples.valid)
        correct = (jnp.argmax(logits, axis=-1) == examples.label).astype(logits.dtype)
        return loss, {"loss": loss, "classification": loss, "accuracy": shard.mean(correct, examples.valid)}

    def pictures(self, modules: ConvNet, images: UInt8[Array, "batch height width 3"]) -> dict[str, Array]:
        return {}

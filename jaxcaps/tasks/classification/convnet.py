"""Classification by a plain convolutional network with cross-entropy: the baseline without capsules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jaxcaps.errors import UserError
from jaxcaps.lazy import jnp, models, nnx
from jaxcaps.tasks.base import Examples, Shard, Task
from jaxcaps.tasks.classification.capsnet import Views, cross_entropy, smoothed

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray, UInt8

    from jaxcaps.data.dataset import Dataset
    from jaxcaps.models import ConvNet, Encoder
    from jaxcaps.plan.config import Config


@dataclass(frozen=True)
class ConvNetClassification(Task):
    """`--stage=finetune --architecture=convnet`."""

    capsules: ClassVar = False
    layers: ClassVar = {"hidden": "head", "out": "head"}
    reported: ClassVar = ("train/accuracy", "validation/balanced_accuracy")

    classes: int
    label_smoothing: float = 0.0

    @classmethod
    def check(cls, config: Config) -> None:
        for flag, unfit in (
            (f"--restore={config.restore}", config.restore is not None),
            ("--reconstruction-weight", config.classify.reconstruction_weight != 0),
            ("--capsule-dropout", config.classify.capsule_dropout != 0),
        ):
            if unfit:
                raise UserError(
                    f"--architecture=convnet is a baseline without capsules, but {flag} needs them; drop one of the two"
                )

    @classmethod
    def make(cls, config: Config, dataset: Dataset) -> ConvNetClassification:
        return cls(
            config.model,
            config.augmentation,
            config.data.image_size,
            len(dataset.classes),
            config.classify.label_smoothing,
        )

    def notes(self, batch_size: int) -> list[str]:
        return ["A plain convolutional network of the same size as the capsule network; loss: cross-entropy"]

    def init(self, rngs: nnx.Rngs, encoder: Encoder) -> ConvNet:
        return models.ConvNet(self.classes, self.model, self.image_size, encoder=encoder, rngs=rngs)

    def views(self, key: PRNGKeyArray, image: UInt8[Array, "height width channels"]) -> Views:
        return Views(self.random_view(key, image))

    def loss(
        self, modules: ConvNet, views: Views, examples: Examples, progress: Float[Array, ""], shard: Shard
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        logits = modules(views.image)
        losses = smoothed(cross_entropy, logits, examples.label, self.label_smoothing)
        loss = shard.mean(losses, examples.valid)
        correct = (jnp.argmax(logits, axis=-1) == examples.label).astype(logits.dtype)
        return loss, {"loss": loss, "classification": loss, "accuracy": shard.mean(correct, examples.valid)}


TASK = ConvNetClassification

"""A baseline without capsules: a convolutional network with as many parameters as the capsule network."""

from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.config import ModelConfig
from jaxcaps.functional import at_least_float32
from jaxcaps.models.capsnet import Encoder
from jaxcaps.models.geometry import primary_capsules
from jaxcaps.models.outputs import Outputs, pooled
from jaxcaps.models.settings import linear


def hidden_width(classes: int, model: ModelConfig, image_size: int) -> int:
    """The hidden width with which a `ConvNet` has as many parameters as the `CapsNet` of the same configuration.

    Both have the same convolutions. On their features, the capsule network has a matrix [dim, capsule_dim] for each
    pair of a primary and a class capsule, and the baseline has a hidden layer and an output layer.
    """
    features = _features(model, image_size)
    routed = features * classes * model.capsule_dim
    return max(1, round((routed - classes) / (features + 1 + classes)))


def _features(model: ModelConfig, image_size: int) -> int:
    return primary_capsules(model, image_size) * model.primary_dim


class ConvNet(nnx.Module):
    """A classifier without capsules: stem, the primary capsules' convolution with ReLU instead of squash, two layers.

    Args:
        classes: number of classes.
        model: architecture of the capsule network to compare with.
        image_size: side of the square pictures.
        encoder: provides the stem and the primary capsules' convolution. Default: a new one.
    """

    def __init__(
        self, classes: int, model: ModelConfig, image_size: int, *, encoder: Encoder | None = None, rngs: nnx.Rngs
    ):
        self.encoder = Encoder(model, image_size, rngs) if encoder is None else encoder
        width = hidden_width(classes, model, image_size)
        he_normal = nnx.initializers.he_normal()
        self.hidden = linear(_features(model, image_size), width, model, rngs, kernel_init=he_normal)
        self.out = linear(width, classes, model, rngs)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
        """Returns logits, at least float32, for pictures with values in [0, 1]."""
        return self.outputs(images).logits

    def outputs(self, images: Float[Array, "batch height width channels"]) -> Outputs:
        """Returns all outputs for pictures with values in [0, 1]."""
        features = nnx.relu(self.encoder.features(images))
        logits = at_least_float32(self.out(nnx.relu(self.hidden(features.reshape(features.shape[0], -1)))))
        return Outputs(logits, pooled(features, features.shape[-1]), None)

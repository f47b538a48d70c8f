"""The networks that tasks train: an encoder and the modules that a task adds."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Integer

from jaxcaps.config import ModelConfig
from jaxcaps.functional import Routed, at_least_float32, select_capsule
from jaxcaps.models.capsnet import CapsNet, Encoder
from jaxcaps.models.decoder import Decoder
from jaxcaps.models.outputs import Outputs, pooled
from jaxcaps.models.settings import dtypes, linear

# Capsule norms lie in [0, 1], so without a scale, a softmax of three of them never exceeds 0.576. With 10, a margin of
# 0.9 gives odds of 8,000 to 1. This is our choice, and the initial value of the scale that cross-entropy learns.
NORM_SCALE = 10.0


class TaskNetwork(nnx.Module):
    """An encoder and the modules that a task adds, by name; None for modules that the settings switch off."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, encoder: Encoder, **modules: nnx.Module | None):
        self.encoder = encoder
        for name, module in modules.items():
            setattr(self, name, module)


class ProjectionHead(nnx.Module):
    """Two layers from flattened capsules to embeddings (Chen et al. 2020, section 2).

    Use `bias=False` if the loss is invariant to a shift of all embeddings: the last layer's bias then has no effect.
    """

    def __init__(
        self, in_features: int, hidden: int, out: int, model: ModelConfig, rngs: nnx.Rngs, *, bias: bool = True
    ):
        self.hidden = linear(in_features, hidden, model, rngs)
        self.out = linear(hidden, out, model, rngs, use_bias=bias)

    def __call__(self, capsules: Float[Array, "batch ..."]) -> Float[Array, "batch embedding"]:
        return self.out(nnx.relu(self.hidden(capsules.reshape(capsules.shape[0], -1))))


class TermWeights(nnx.Module):
    """Learned factors of the weights of two loss terms, from the terms' uncertainties (Kendall et al. 2018).

    The uncertainty of a term is exp(s), and its factor is exp(-s), initially 1. The loss adds s, which keeps the
    factors from going to 0.
    """

    def __init__(self, model: ModelConfig):
        self.log_uncertainty = nnx.Param(jnp.zeros(2, dtypes(model).parameters))

    def __call__(self) -> tuple[Float[Array, "2"], Float[Array, ""]]:
        """Returns the factors and the regulariser to add to the loss."""
        return jnp.exp(-self.log_uncertainty[...]), jnp.sum(self.log_uncertainty[...])


class Classifier(nnx.Module):
    """A CapsNet with the modules its loss needs: a scale of the norms and a decoder."""

    def __init__(self, capsnet: CapsNet, model: ModelConfig, decoder: Decoder | None, *, learns_scale: bool):
        self.encoder = capsnet.encoder
        self.class_capsules = capsnet.class_capsules
        self.decoder = decoder
        self.norm_scale = nnx.Param(jnp.full((), NORM_SCALE, dtypes(model).parameters)) if learns_scale else None

    def __call__(
        self, images: Float[Array, "batch height width channels"], factors: Float[Array, "batch capsules"] | None = None
    ) -> Routed:
        """The class capsules.

        Args:
            images: in [0, 1].
            factors: what the poses of the primary capsules are multiplied by; None for 1.
        """
        poses = self.encoder(images).poses
        if factors is not None:
            poses = poses * factors[..., None].astype(poses.dtype)
        routed: Routed = self.class_capsules(poses)
        return routed

    def logits(self, activations: Float[Array, "... classes"]) -> Float[Array, "... classes"]:
        """Returns scaled activations as logits. All probabilities of capsule classifiers are computed from these.

        Spread and margin loss use the fixed scale 10, and cross-entropy a learned scale.
        """
        return at_least_float32(activations) * (NORM_SCALE if self.norm_scale is None else self.norm_scale[...])

    def reconstruct(
        self, routed: Routed, classes: Integer[Array, "batch"]
    ) -> Float[Array, "batch height width channels"]:
        """Decodes the capsule of one class of each picture to a picture in [0, 1]. The network needs a decoder."""
        assert self.decoder is not None
        made: Array = self.decoder(jax.vmap(select_capsule)(routed.poses, classes))
        return made

    def outputs(self, images: Float[Array, "batch height width channels"]) -> Outputs:
        """Returns all outputs for pictures with values in [0, 1]."""
        poses = self.encoder(images).poses
        routed: Routed = self.class_capsules(poses)
        activations = at_least_float32(routed.activations)
        errors = None
        if self.decoder is not None:
            made = self.reconstruct(routed, jnp.argmax(activations, axis=-1))
            errors = jnp.mean((made - images.astype(made.dtype)) ** 2, axis=(1, 2, 3))
        primary = self.encoder.primary
        return Outputs(self.logits(activations), pooled(poses, primary.types * primary.dim), errors)

"""The stem of the reference study: a sequence of convolutions."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.config import ModelConfig, StemStage
from jaxcaps.models import stem
from jaxcaps.models.settings import GroupNorm, dtypes


class PlainStage(nnx.Module):
    """One stage: optional pooling, one or more parallel convolutions, optional normalisation, ReLU."""

    def __init__(self, in_features: int, stage: StemStage, model: ModelConfig, rngs: nnx.Rngs):
        dtype, param_dtype = dtypes(model)
        specifications = stage.branches or (stage,)
        self.pooled = stage.pooled
        self.convolutions = nnx.List(
            stem.stem_convolution(
                in_features,
                each.width,
                kernel=each.kernel,
                stride=stage.stride,
                padding=each.padding,
                kernel_dilation=getattr(each, "dilation", 1),
                dtype=dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            for each in specifications
        )
        self.norm = GroupNorm(stage.width, model, rngs) if model.normalization == "group" else None

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns width"]:
        return nnx.relu(self.convolved(stem.pooled(x) if self.pooled else x))

    def convolved(self, x: Array) -> Array:
        """Applies the stage without pooling and ReLU."""
        y = jnp.concatenate([convolution(x) for convolution in self.convolutions], axis=-1)
        return y if self.norm is None else self.norm(y)


STEM = PlainStage

"""A residual stem (He et al. 2016): each stage adds its input, through a 1x1 shortcut, to its output."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.config import ModelConfig, StemStage
from jaxcaps.models import stem
from jaxcaps.models.settings import linear
from jaxcaps.models.stems.plain import PlainStage


class ResidualStage(PlainStage):
    """The sum of a plain stage and its shortcut, a 1x1 convolution with the stage's stride, followed by ReLU.

    Its maps have the same sides as those of a plain stage, so the grid of capsules is the same.
    """

    def __init__(self, in_features: int, stage: StemStage, model: ModelConfig, rngs: nnx.Rngs):
        super().__init__(in_features, stage, model, rngs)
        # A 1x1 convolution is a matrix product for each pixel.
        he_normal = nnx.initializers.he_normal()
        self.shortcut = linear(in_features, stage.width, model, rngs, use_bias=False, kernel_init=he_normal)
        self.stride = stage.stride
        first = stage.branches[0] if stage.branches else stage
        reach = getattr(first, "dilation", 1) * (first.kernel - 1)
        # The shortcut starts at the centre of the first kernel.
        self.start = reach // 2 - first.padding

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns width"]:
        if self.pooled:
            x = stem.pooled(x)
        y = self.convolved(x)
        return nnx.relu(y + self.shortcut(_centres(x, self.start, self.stride, y.shape[1])))


def _centres(x: Array, start: int, stride: int, side: int) -> Array:
    """The pixels at the centres of a convolution's kernels, `side` along each axis, with zeros outside the map."""
    before = max(0, -start)
    after = max(0, start + (side - 1) * stride + 1 - x.shape[1])
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    first = start + before
    last = first + (side - 1) * stride + 1
    return padded[:, first:last:stride, first:last:stride]


STEM = ResidualStage

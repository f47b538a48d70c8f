"""What the stems of the networks are built of: convolutions, and normalisation without running state."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcaps.functional import convolution

# Channels normalised together. One alone would make its convolution's bias idle, as the mean is taken away.
GROUP_SIZE = 8


class GroupNorm(nnx.GroupNorm):
    """Group normalisation (Wu and He 2018) without running statistics: an example never depends on its batch.

    It has as many parameters as batch normalisation, a scale and a bias for each channel.

    Raises:
        ValueError: `width` is no multiple of `GROUP_SIZE`.
    """

    def __init__(self, width: int, *, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        if width % GROUP_SIZE:
            raise ValueError(f"width={width}: a multiple of {GROUP_SIZE} expected, the channels normalised together")
        super().__init__(width, group_size=GROUP_SIZE, num_groups=None, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        # Flax keeps the statistics in float32, mixing dtypes that strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            y: jax.Array = super().__call__(x, mask=mask)
        return y


def stem_convolution(
    in_features: int, features: int, *, kernel: int, stride: int = 1, padding: int = 0, **settings: Any
) -> nnx.Conv:
    """A square convolution for a ReLU to follow (He et al. 2015), with gradients that are fast on a CPU."""
    return nnx.Conv(
        in_features,
        features,
        kernel_size=(kernel, kernel),
        strides=stride,
        padding=((padding, padding), (padding, padding)),
        kernel_init=nnx.initializers.he_normal(),
        conv_general_dilated=convolution,
        **settings,
    )

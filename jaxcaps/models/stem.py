"""Components of stems: convolutions, pooling, and normalisation without running state."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import at_least_float32, convolution

# The number of channels normalised together. With one, the bias of the convolution before would have no effect.
GROUP_SIZE = 8


class GroupNorm(nnx.GroupNorm):
    """Group normalisation (Wu and He 2018). It has no running statistics, so an example never depends on its batch.

    It has a scale and a bias for each channel, as many parameters as batch normalisation.

    Raises:
        ValueError: `width` is not a multiple of `GROUP_SIZE`.
    """

    def __init__(self, width: int, *, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        if width % GROUP_SIZE:
            raise ValueError(
                f"width={width}: expected a multiple of {GROUP_SIZE}, the number of channels normalised together"
            )
        super().__init__(width, group_size=GROUP_SIZE, num_groups=None, dtype=dtype, param_dtype=param_dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch *places width"], *, mask: Array | None = None) -> Array:
        if mask is None and jax.default_backend() == "cpu":
            assert self.scale is not None
            assert self.bias is not None
            wide = at_least_float32(x.astype(self.dtype))
            scale, bias = (each[...].astype(wide.dtype) for each in (self.scale, self.bias))
            places = wide.reshape(wide.shape[0], -1, wide.shape[-1])
            return _normalised(places, scale, bias, self.epsilon).reshape(x.shape).astype(self.dtype)
        # Flax computes the statistics in float32 and mixes dtypes, which strict promotion rejects.
        with jax.numpy_dtype_promotion("standard"):
            y: Array = super().__call__(x, mask=mask)
        return y


def _normalised(
    x: Float[Array, "batch places width"], scale: Float[Array, " width"], bias: Float[Array, " width"], epsilon: float
) -> Float[Array, "batch places width"]:
    """Group normalisation that is two to three times as fast on a CPU: it averages channels first, then groups.

    It subtracts the mean before squaring, so unlike Flax's mean of squares, it does not lose a small variance beside a
    large mean.
    """

    def over_group(of_channels: Float[Array, "batch width"]) -> Float[Array, "batch 1 width"]:
        groups = of_channels.reshape(len(of_channels), -1, GROUP_SIZE)
        return jnp.repeat(jnp.mean(groups, axis=-1), GROUP_SIZE, axis=1)[:, None]

    centred = x - over_group(jnp.mean(x, axis=1))
    variance = over_group(jnp.mean(jnp.square(centred), axis=1))
    return centred * (jax.lax.rsqrt(variance + epsilon) * scale[None, None]) + bias[None, None]


def stem_convolution(
    in_features: int, features: int, *, kernel: int, stride: int = 1, padding: int = 0, **settings: Any
) -> nnx.Conv:
    """A square convolution, initialised for a ReLU (He et al. 2015), with fast gradients on a CPU."""
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


def pooled(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """2x2 max pooling. An odd last row or column is dropped, as in VGG."""
    batch, height, width, channels = x.shape
    cut = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(cut.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))

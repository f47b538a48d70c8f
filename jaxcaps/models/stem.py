"""What the stems of the networks are built of: convolutions, pooling, and normalisation without running state."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import at_least_float32, by_shards, convolution
from jaxcaps.functional.cpu import choose, tuned_forms_fit
from jaxcaps.functional.cpu.normalisation import tuned_group_normalisation

# Channels normalised together. With one alone the convolution's bias would have no effect: the mean is subtracted.
GROUP_SIZE = 8


class GroupNorm(nnx.GroupNorm):
    """Group normalisation (Wu and He 2018) without running statistics: an example never depends on its batch.

    It has as many parameters as batch normalisation, a scale and a bias for each channel.

    Raises:
        ValueError: `width` is not a multiple of `GROUP_SIZE`.
    """

    def __init__(self, width: int, *, dtype: Any = jnp.float32, param_dtype: Any = jnp.float32, rngs: nnx.Rngs):
        if width % GROUP_SIZE:
            raise ValueError(f"width={width}: expected a multiple of {GROUP_SIZE}, the channels of a group")
        super().__init__(
            width,
            num_groups=None,
            group_size=GROUP_SIZE,
            # The mean of the squares minus the square of the mean loses the variance of values far from 0.
            use_fast_variance=False,
            # The statistics, the scale and the bias stay float32 in half precision. Only the result is rounded.
            dtype=np.promote_types(jnp.dtype(dtype), np.float32),
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.result_dtype = dtype

    def __call__(self, x: Float[Array, "batch *places width"], *, mask: Array | None = None) -> Array:
        x = x.astype(self.result_dtype)
        if mask is not None or not tuned_forms_fit(*x.shape):
            return self.plain(x, mask)

        graph, state = nnx.split(self)

        def normalised(state: "nnx.State[Any, Any]", x: Array) -> Array:
            y: Array = choose(
                lambda x, state: nnx.merge(graph, state).tuned(x),
                lambda x, state: nnx.merge(graph, state).plain(x),
                x,
                state,
            )
            return y

        return by_shards(normalised, state, x)

    def plain(self, x: Array, mask: Array | None = None) -> Array:
        """Flax's form."""
        y: Array = super().__call__(at_least_float32(x), mask=mask)
        return y.astype(self.result_dtype)

    def tuned(self, x: Array) -> Array:
        """The form for a CPU."""
        assert self.scale is not None
        assert self.bias is not None
        wide = at_least_float32(x)
        scale, bias = (each[...].astype(wide.dtype) for each in (self.scale, self.bias))
        y = tuned_group_normalisation(wide, scale, bias, group_size=GROUP_SIZE, epsilon=self.epsilon)
        return y.astype(self.result_dtype)


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


def pooled(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch half_height half_width channels"]:
    """The largest of each 2x2 pixels; an odd last row or column is dropped, as in VGG."""
    batch, height, width, channels = x.shape
    cut = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(cut.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))

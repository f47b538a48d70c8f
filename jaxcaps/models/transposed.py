"""Transposed convolution, computed as an ordinary convolution and a rearrangement of its channels.

XLA's CPU weight gradient of a convolution with a dilated input is many times slower than the forward pass (measured
at 8x8x128 -> 16x16x160, kernel 4, stride 2, batch 128, on 2 cores: 107 ms forward, 2286 ms for the weight gradient;
in the form below 72 and 164 ms). Each of the stride^2 phases of the output is an ordinary convolution of the undilated
input (Shi et al. 2016, appendix: sub-pixel and transposed convolution are the same map).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float


def transposed_convolution(
    x: Float[Array, "batch side side in"], kernel: Float[Array, "k k in out"], *, stride: int, target: int
) -> Float[Array, "batch target target out"]:
    """Upsamples `side` to `target`, as `lax.conv_transpose` with pads that add up to just that side.

    The pads of the dilated input, (side - 1) * stride + 1 long, are split evenly, the odd one at the end.
    """
    side, size = x.shape[1], kernel.shape[0]
    pad = (target - (side - 1) * stride + size - 2) // 2
    # Output place stride * q + phase meets kernel tap t at input place q + offset, stride * offset = phase + t - pad.
    offsets = {
        (phase, tap): (phase + tap - pad) // stride
        for phase in range(stride)
        for tap in range(size)
        if (phase + tap - pad) % stride == 0
    }
    first, last = min(offsets.values()), max(offsets.values())
    index = np.full((last - first + 1, stride), size)  # one past the last tap: a zero
    for (phase, tap), offset in offsets.items():
        index[offset - first, phase] = tap
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    phases = padded[index[:, :, None, None], index[None, None, :, :]]  # [taps, phase, taps, phase, in, out]
    features, width = kernel.shape[2:]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(len(index), len(index), features, stride**2 * width)

    quotient = -(-target // stride)
    pads = (-first, quotient - 1 + last - (side - 1))
    y = lax.conv_general_dilated(x, phases, (1, 1), (pads, pads), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = y.reshape(-1, quotient, quotient, stride, stride, width).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(-1, quotient * stride, quotient * stride, width)[:, :target, :target]


class TransposedConvolution(nnx.Module):
    """A layer around `transposed_convolution`, with a bias."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel: int,
        stride: int,
        target: int,
        dtype: Any,
        param_dtype: Any,
        rngs: nnx.Rngs,
    ):
        # Each output place is the sum of (kernel / stride)^2 * in_features products.
        fan_in = (kernel / stride) ** 2 * in_features
        draw = nnx.initializers.normal((2 / fan_in) ** 0.5)
        self.kernel = nnx.Param(draw(rngs.params(), (kernel, kernel, in_features, out_features), param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_features,), param_dtype))
        self.stride, self.target, self.dtype = stride, target, dtype

    def __call__(self, x: Float[Array, "batch side side in"]) -> Float[Array, "batch target target out"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        y = transposed_convolution(x.astype(self.dtype), kernel, stride=self.stride, target=self.target)
        return y + bias[None, None, None, :]

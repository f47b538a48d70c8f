"""Convolutions of a batch of pictures, as Flax's layers take them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.batching import by_shards
from jaxcaps.functional.cpu import choose, tuned_forms_fit
from jaxcaps.functional.cpu.convolution import (
    LAYOUT,
    Settings,
    plain_convolution,
    tuned_convolution,
    tuned_transposed_convolution,
    turned,
)


def convolution(
    inputs: Float[Array, "batch height width in"],
    kernel: Float[Array, "kernel_height kernel_width in out"],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | str,
    *,
    rhs_dilation: Sequence[int] = (1, 1),
    precision: lax.PrecisionLike = None,
    **others: Any,
) -> Float[Array, "batch out_height out_width out"]:
    """`lax.conv_general_dilated` of pictures, channels last, with gradients that are fast on a CPU.

    On an accelerator this is XLA's convolution. On a CPU values and gradients equal XLA's up to rounding. A Flax layer
    takes it in place of XLA's: `nnx.Conv(..., conv_general_dilated=convolution)`.

    Args:
        inputs, kernel: arrays of one dtype.
        window_strides: strides of the rows and of the columns.
        padding: (before, after) of the rows and of the columns; negative numbers crop.
        rhs_dilation: distance between the taps of the kernel.
        precision: precision of the products.
        others: further arguments that Flax's layers pass, at their defaults.

    Raises:
        ValueError: a further argument of `lax.conv_general_dilated` is not at its default, or `padding` is a string.
    """
    defaults = {
        "lhs_dilation": (1, 1),
        "dimension_numbers": lax.conv_dimension_numbers(inputs.shape, kernel.shape, LAYOUT),
        "feature_group_count": 1,
        "out_sharding": None,
    }
    for name, value in others.items():
        if name not in defaults:
            raise ValueError(f"{name}={value!r}: jaxcaps' convolution has no such argument; drop it")
        if value != defaults[name]:
            raise ValueError(f"{name}={value!r}: jaxcaps' convolution supports only {defaults[name]}")
    if isinstance(padding, str):
        raise ValueError(f"padding={padding!r}: give pairs of numbers, such as ((1, 1), (1, 1))")
    settings = Settings(tuple(window_strides), tuple(padding), tuple(rhs_dilation), precision)
    tuned, plain = partial(tuned_convolution, settings), partial(plain_convolution, settings)
    return _of_shards(tuned, plain, inputs, kernel)


def transposed_convolution(
    inputs: Float[Array, "batch side side in"], kernel: Float[Array, "k k in out"], *, stride: int, target: int
) -> Float[Array, "batch target target out"]:
    """Upsamples `side` to `target`: `lax.conv_transpose` with pads that add up to that side.

    The pads of the dilated input, which is (side - 1) * stride + 1 long, are split evenly; an odd one goes to the end.
    On a CPU values and gradients equal XLA's up to rounding.

    Args:
        inputs, kernel: arrays of one dtype.
        stride: how many times the side grows, approximately.
        target: side of the result.
    """
    side, taps = inputs.shape[1], kernel.shape[0]
    pads = target - (side - 1) * stride + taps - 2
    before, after = pads // 2, pads - pads // 2
    # The convolution that takes `target` to `side`: the result is its input gradient.
    settings = Settings((stride, stride), ((taps - 1 - before, taps - 1 - after),) * 2)

    def tuned(inputs: Array, kernel: Array) -> Array:
        y: Array = tuned_transposed_convolution(settings, (target, target), inputs, turned(kernel))
        return y

    def plain(inputs: Array, kernel: Array) -> Array:
        strides, edges = (stride, stride), ((before, after), (before, after))
        return lax.conv_transpose(inputs, kernel, strides, edges, dimension_numbers=LAYOUT)

    return _of_shards(tuned, plain, inputs, kernel)


def _of_shards(
    tuned: Callable[[Array, Array], Array], plain: Callable[[Array, Array], Array], inputs: Array, kernel: Array
) -> Array:
    def convolve(kernel: Array, inputs: Array) -> Array:
        if not tuned_forms_fit(*inputs.shape):
            return plain(inputs, kernel)
        y: Array = choose(tuned, plain, inputs, kernel)
        return y

    y: Array = by_shards(convolve, kernel, inputs)
    return y

"""Convolutions of a batch whose gradients are fast on a CPU.

XLA's CPU convolution without any padding takes two to five times as long as with some, and its gradients fall off a
cliff for some shapes (`python -m benchmarks.convolutions`, tabled in docs/results): the input gradient of Sabour's
primary convolution takes over thirty times its forward pass, the weight gradients of the reference study's decoder a
hundred times and more. Here a weight gradient is a matrix product with the patches of a few examples at a time, or one
product for each tap of the kernel where patches are too large. An input gradient is a convolution for each phase of the
stride.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxcaps.functional.precision import at_least_float32

# Below so many channels on either side a tap's matrix product is too thin, and XLA's form is the faster one (measured
# with 1 and 3 channels against 16 and more).
THIN = 16
# Multiplications by phases for one that is needed, from which on a product for each tap is faster (measured: 3.4 times
# as many for Sabour's primary capsules, where it takes a third of the time; 1.2 to 1.5 for the decoders' layers).
MOSTLY_PADDING = 2
# Out channels for which XLA's CPU convolution of an odd number of channels above 1 takes up to four times as long as of
# one more, a channel of zeros (measured with 3, 5, 7 and 21 channels; 8, 16, 33, 48, 64 and 96 out channels are fast).
SLOW_FROM_ODD = 32
# Of the patches held at a time, which a CPU's cache should keep (measured: 1 to 4 MB are alike, 10 MB much slower), and
# the most examples they are of. Of less than two, patches are slower than a product for each tap.
PATCH_BYTES = 2**22
MOST_EXAMPLES = 8
LAYOUT = ("NHWC", "HWIO", "NHWC")


class Settings(NamedTuple):
    """See `jaxcaps.functional.convolution`."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...] = (1, 1)
    precision: lax.PrecisionLike = None


def turned(kernel: Array) -> Array:
    """Returns the kernel of the transposed convolution: rotated by half a turn, with its channels swapped."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def plain_convolution(settings: Settings, x: Array, kernel: Array) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        settings.strides,
        settings.pads,
        rhs_dilation=settings.dilation,
        dimension_numbers=LAYOUT,
        precision=settings.precision,
    )


def _convolution(settings: Settings, x: Array, kernel: Array) -> Array:
    """XLA's convolution, but never without padding, which is slow."""
    if kernel.shape[3] == SLOW_FROM_ODD and kernel.shape[2] % 2 and kernel.shape[2] > 1:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    (top, bottom), (left, right) = settings.pads
    if max(top, bottom, left, right) > 0:
        return plain_convolution(settings, x, kernel)
    padded = plain_convolution(settings._replace(pads=((top, bottom), (left, right + 1))), x, kernel)
    reach = (kernel.shape[1] - 1) * settings.dilation[1] + 1
    columns = (x.shape[2] + left + right - reach) // settings.strides[1] + 1
    return padded[:, :, :columns]


def _tile(x: Array, kernel: Array, out_sides: Sequence[int]) -> int:
    """Returns how many examples to make patches of at a time: a divisor of the batch, or 0 if it does not pay."""
    bytes_each = math.prod(out_sides) * math.prod(kernel.shape[:3]) * x.dtype.itemsize
    most = min(MOST_EXAMPLES, PATCH_BYTES // max(1, bytes_each), len(x))
    return max((size for size in range(2, most + 1) if len(x) % size == 0), default=0)


def _patches(settings: Settings, x: Array, taps: Sequence[int], out_sides: Sequence[int]) -> Array:
    """Returns the inputs that each output place reads, [batch * places, taps * in]."""
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pads, 0) for pads in settings.pads), (0, 0, 0)])
    (rows, columns), (down, right) = out_sides, settings.strides

    def met(row: int, column: int) -> Array:
        top, left = row * settings.dilation[0], column * settings.dilation[1]
        return padded[:, top : top + (rows - 1) * down + 1 : down, left : left + (columns - 1) * right + 1 : right]

    each = [met(row, column) for row in range(taps[0]) for column in range(taps[1])]
    return jnp.concatenate(each, axis=-1).reshape(-1, len(each) * x.shape[-1])


def _tiled(x: Array, tile: int) -> Array:
    return x.reshape(-1, tile, *x.shape[1:])


tuned_convolution = jax.custom_vjp(_convolution, nondiff_argnums=(0,))


def _remember(settings: Settings, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolution(settings, x, kernel), (x, kernel)


def _backward(settings: Settings, remembered: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = remembered
    if settings.dilation == (1, 1) and settings.strides != (1, 1):
        x_cotangent = _input_gradient(settings, x.shape[1:3], cotangent, kernel)
    else:
        (x_cotangent,) = jax.vjp(lambda x: plain_convolution(settings, x, kernel), x)[1](cotangent)
    return x_cotangent, _kernel_gradient(settings, x, kernel, cotangent)


tuned_convolution.defvjp(_remember, _backward)


def _kernel_gradient(settings: Settings, x: Array, kernel: Array, cotangent: Array) -> Array:
    if min(kernel.shape[2:]) >= THIN:
        if tile := _tile(x, kernel, cotangent.shape[1:3]):
            return _products_with_patches(settings, x, kernel, cotangent, tile)
        return _products_of_taps(settings, x, kernel.shape, cotangent)
    (gradient,) = jax.vjp(lambda kernel: plain_convolution(settings, x, kernel), kernel)[1](cotangent)
    return gradient


def _products_with_patches(settings: Settings, x: Array, kernel: Array, cotangent: Array, tile: int) -> Array:
    """Multiplies the cotangent, [out, places], by the patches that it read, and sums over the tiles of a batch."""
    out_sides, out = cotangent.shape[1:3], cotangent.shape[3]

    def add(total: Array, of_tile: tuple[Array, Array]) -> tuple[Array, None]:
        x, cotangent = of_tile
        product = lax.dot_general(
            cotangent.reshape(-1, out),
            _patches(settings, x, kernel.shape[:2], out_sides),
            (((0,), (0,)), ((), ())),
            precision=settings.precision,
            preferred_element_type=total.dtype,
        )
        return total + product, None

    # Zeros of the cotangent's type, whatever it varies over inside `jax.shard_map`; summed in float32 at least.
    zero = at_least_float32(0 * cotangent[0, 0, 0, 0])
    zeros = jnp.broadcast_to(zero, (out, math.prod(kernel.shape[:3])))
    total, _ = lax.scan(add, zeros, (_tiled(x, tile), _tiled(cotangent, tile)))
    return total.T.reshape(kernel.shape).astype(kernel.dtype)


class _Taps(NamedTuple):
    """The padded inputs split into the phases of the strides, where what a tap met is one contiguous block.

    Attributes: rows and columns of a phase; pads (before, after) of the inputs' rows and columns.
    """

    rows: int
    columns: int
    pads: list[tuple[int, int]]


def _of_taps(
    settings: Settings, sides: Sequence[int], out_sides: Sequence[int], taps: Sequence[int]
) -> tuple[_Taps, Callable[[Array], tuple[Any, ...]]]:
    """Splits a map into phases, [phase, phase, batch, row, column, feature], and locates the block of each tap."""
    strides, dilation = settings.strides, settings.dilation
    rows, columns = (
        -(-((side - 1) * stride + step * (count - 1) + 1) // stride)
        for side, stride, step, count in zip(out_sides, strides, dilation, taps, strict=True)
    )
    pads = [
        (before, wanted * stride - side - before)
        for wanted, stride, side, (before, _) in zip((rows, columns), strides, sides, settings.pads, strict=True)
    ]

    def start(tap: Array) -> tuple[Any, ...]:
        row, column = tap // taps[1] * dilation[0], tap % taps[1] * dilation[1]
        return (row % strides[0], column % strides[1], 0, row // strides[0], column // strides[1], 0)

    return _Taps(rows, columns, pads), start


def _products_of_taps(settings: Settings, x: Array, kernel_shape: tuple[int, ...], cotangent: Array) -> Array:
    """For each tap, multiplies the inputs that it read, [in, places], by the cotangent, [places, out]."""
    batch, *out_sides, out = cotangent.shape
    taps, features = kernel_shape[:2], kernel_shape[2]
    split, start = _of_taps(settings, x.shape[1:3], out_sides, taps)
    edges = [(*pads, 0) for pads in split.pads]
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    strides = settings.strides
    phases = padded.reshape(batch, split.rows, strides[0], split.columns, strides[1], features)
    phases = phases.transpose(2, 4, 0, 1, 3, 5)
    places = cotangent.reshape(-1, out)

    def of_tap(tap: Array) -> Array:
        met = lax.dynamic_slice(phases, start(tap), (1, 1, batch, *out_sides, features)).reshape(-1, features)
        return lax.dot_general(met, places, (((0,), (0,)), ((), ())), precision=settings.precision)

    return lax.map(of_tap, jnp.arange(taps[0] * taps[1])).reshape(kernel_shape)


def _input_gradient(settings: Settings, sides: tuple[int, ...], cotangent: Array, kernel: Array) -> Array:
    """The gradient of a convolution of `sides`, not dilated, by its input: the cotangent's transposed convolution.

    By phases, unless most of what they multiply is padding, as where the kernel is larger than the cotangent's map.
    """
    taps, strides = kernel.shape[:2], settings.strides
    needed = math.prod(taps) * math.prod(cotangent.shape[1:3])
    multiplied = math.prod(
        (-(-side // stride)) * stride * -(-count // stride)
        for side, stride, count in zip(sides, strides, taps, strict=True)
    )
    if multiplied > MOSTLY_PADDING * needed and min(kernel.shape[2:]) >= THIN:
        return _products_onto_taps(settings, sides, cotangent, kernel)
    return _by_phases(settings, sides, cotangent, kernel)


def _products_onto_taps(settings: Settings, sides: tuple[int, ...], cotangent: Array, kernel: Array) -> Array:
    """For each tap, multiplies the cotangent, [places, out], by its weights, and adds the product to the inputs that it
    read."""
    batch, *out_sides, out = cotangent.shape
    taps, features = kernel.shape[:2], kernel.shape[2]
    split, start = _of_taps(settings, sides, out_sides, taps)
    places, weights = cotangent.reshape(-1, out), kernel.reshape(-1, features, out)
    block = (1, 1, batch, *out_sides, features)

    def add(tap: Array, phases: Array) -> Array:
        product = lax.dot_general(places, weights[tap], (((1,), (1,)), ((), ())), precision=settings.precision)
        met = lax.dynamic_slice(phases, start(tap), block)
        return lax.dynamic_update_slice(phases, met + product.reshape(block), start(tap))

    # Zeros of the cotangent's type, whatever it varies over inside `jax.shard_map`.
    zeros = jnp.broadcast_to(0 * places[0, 0], (*settings.strides, batch, split.rows, split.columns, features))
    phases = lax.fori_loop(0, len(weights), add, zeros)
    shape = (batch, split.rows * settings.strides[0], split.columns * settings.strides[1], features)
    padded = phases.transpose(2, 3, 0, 4, 1, 5).reshape(shape)
    edges = [(-before, -after, 0) for before, after in split.pads]
    return lax.pad(padded, jnp.zeros((), padded.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _by_phases(settings: Settings, sides: tuple[int, ...], cotangent: Array, kernel: Array) -> Array:
    """The same, by an ordinary convolution.

    The transposed convolution puts stride - 1 zeros between the places of the cotangent. None are made here: each of
    the strides[0] * strides[1] phases of the output is an ordinary convolution, and all phases are one, whose channels
    are then rearranged (Shi et al. 2016, appendix: sub-pixel and transposed convolution are the same map).
    """
    strides, taps = settings.strides, kernel.shape[:2]
    before = (size - 1 - pad for size, (pad, _) in zip(taps, settings.pads, strict=True))
    (row_taps, row_pads), (column_taps, column_pads) = (
        _phase_taps(*each) for each in zip(cotangent.shape[1:3], taps, strides, before, sides, strict=True)
    )
    padded = jnp.pad(turned(kernel), ((0, 1), (0, 1), (0, 0), (0, 0)))  # one past the last tap: zeros
    phases = padded[row_taps[:, :, None, None], column_taps[None, None]]  # [taps, phase, taps, phase, in, out]
    features, width = phases.shape[4:]
    phases = phases.transpose(0, 2, 4, 1, 3, 5)
    phases = phases.reshape(len(row_taps), len(column_taps), features, strides[0] * strides[1] * width)
    y = _convolution(Settings((1, 1), (row_pads, column_pads), precision=settings.precision), cotangent, phases)
    batch, rows, columns, _ = y.shape
    y = y.reshape(batch, rows, columns, *strides, width).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, rows * strides[0], columns * strides[1], width)[:, : sides[0], : sides[1]]


def _phase_taps(side: int, taps: int, stride: int, before: int, target: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Of one axis: the kernel's tap at each tap of each phase [taps, phase] (`taps` for none), and the pads of `x`.

    Output place stride * q + phase meets tap t at input place q + offset, where stride * offset = phase + t - before.
    """
    offsets = {
        (phase, tap): (phase + tap - before) // stride
        for phase in range(stride)
        for tap in range(taps)
        if (phase + tap - before) % stride == 0
    }
    first, last = min(offsets.values()), max(offsets.values())
    index = np.full((last - first + 1, stride), taps)
    for (phase, tap), offset in offsets.items():
        index[offset - first, phase] = tap
    return index, (-first, -(-target // stride) - 1 + last - (side - 1))


tuned_transposed_convolution = jax.custom_vjp(_input_gradient, nondiff_argnums=(0, 1))


def _remember_transposed(
    settings: Settings, sides: tuple[int, ...], x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _input_gradient(settings, sides, x, kernel), (x, kernel)


def _backward_transposed(
    settings: Settings, sides: tuple[int, ...], remembered: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = remembered
    return _convolution(settings, cotangent, kernel), _kernel_gradient(settings, cotangent, kernel, x)


tuned_transposed_convolution.defvjp(_remember_transposed, _backward_transposed)

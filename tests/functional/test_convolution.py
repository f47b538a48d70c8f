"""The convolutions with fast gradients against XLA's own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxcaps.functional import convolution, transposed_convolution
from jaxcaps.functional.cpu.convolution import THIN
from tests.marks import slow

LAYOUT = ("NHWC", "HWIO", "NHWC")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same_values_and_gradients(ours, theirs, *arguments):
    @jax.jit
    def both(*arguments):
        results = []
        for function in (ours, theirs):
            y, backward = jax.vjp(function, *arguments)
            weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            results.append((y, *backward(weights)))
        return results

    for first, second in zip(*jax.tree.map(np.asarray, both(*arguments)), strict=True):
        assert first.shape == second.shape
        scale = np.abs(second).max()
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5 * scale)


# sides, kernel, strides, pads, dilation: stems' and primary capsules' kinds, and odd ones.
CONVOLUTIONS = [
    ((9, 9), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    ((20, 20), (9, 9), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((11, 11), (9, 9), (2, 2), ((4, 4), (4, 4)), (1, 1)),
    ((12, 12), (5, 5), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((12, 12), (3, 3), (2, 2), ((2, 2), (2, 2)), (2, 2)),
    ((10, 12), (3, 3), (2, 2), ((-1, -2), (-2, 0)), (1, 1)),
    ((10, 7), (2, 4), (3, 2), ((0, 1), (3, 0)), (1, 1)),
    ((8, 8), (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((7, 7), (2, 2), (4, 4), ((0, 0), (0, 0)), (1, 1)),
]


# Weight gradients of one example are made by taps, those of ten by patches in two tiles; 3 channels to 32 get a fourth.
CASES = [
    *((batch, channels, each) for batch, channels in [(2, (3, 2)), (1, (THIN, THIN))] for each in CONVOLUTIONS),
    *((10, (THIN, THIN), each) for each in CONVOLUTIONS[:5]),
    (2, (3, 32), CONVOLUTIONS[0]),
]


@pytest.mark.parametrize(
    ("batch", "channels", "shape"), [*CASES[::3], CASES[-1], *slow(*CASES[1:-1:3], *CASES[2:-1:3])]
)
def test_convolution_equals_lax(batch, channels, shape):
    sides, size, strides, pads, dilation = shape
    x, kernel = normal(batch, *sides, channels[0]), normal(*size, *channels, seed=1)

    def theirs(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilation, dimension_numbers=LAYOUT)

    assert_same_values_and_gradients(
        lambda x, kernel: convolution(x, kernel, strides, pads, rhs_dilation=dilation), theirs, x, kernel
    )


def test_weight_gradients_of_half_precision_are_summed_in_float32():
    """Of 512 tiles, each with the same share: a sum in bfloat16 would stop growing at 256 shares."""
    x = np.ones((4096, 2, 2, THIN), jnp.bfloat16)

    @jax.jit
    def gradient(x, kernel, cotangent):
        return jax.vjp(lambda kernel: convolution(x, kernel, (1, 1), ((0, 0), (0, 0))), kernel)[1](cotangent)[0]

    kernel = np.zeros((1, 1, THIN, THIN), jnp.bfloat16)
    np.testing.assert_array_equal(np.float32(gradient(x, kernel, x)), 4096 * 4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_pass_through(dtype):
    def value_and_gradients(x, kernel):
        y, backward = jax.vjp(lambda *a: convolution(*a, (2, 2), ((1, 1), (1, 1))), x, kernel)
        return y, *backward(y)

    x, kernel = np.ones((1, 6, 6, THIN), dtype), np.ones((3, 3, THIN, THIN), dtype)
    assert {each.dtype for each in jax.jit(value_and_gradients)(x, kernel)} == {jnp.dtype(dtype)}


def test_a_flax_layer_takes_it():
    settings = dict(kernel_size=(3, 3), strides=2, padding=((1, 1), (1, 1)), kernel_dilation=2)
    theirs = nnx.Conv(4, 5, **settings, rngs=nnx.Rngs(0))
    ours = nnx.Conv(4, 5, **settings, conv_general_dilated=convolution, rngs=nnx.Rngs(0))
    x = normal(2, 9, 9, 4)
    np.testing.assert_array_equal(*nnx.jit(lambda ours, theirs, x: (ours(x), theirs(x)))(ours, theirs, x))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"padding": "SAME"}, "padding='SAME'"), ({"padding": 1, "input_dilation": 2}, "lhs_dilation=(2, 2)")],
)
def test_what_it_does_not_know_is_refused(settings, named):
    layer = nnx.Conv(4, 4, kernel_size=(3, 3), conv_general_dilated=convolution, rngs=nnx.Rngs(0), **settings)
    with pytest.raises(ValueError, match=re.escape(named)):
        layer(jnp.ones((1, 5, 5, 4)))


# side, kernel, stride, target: the stages of small presets and of paper224, and odd ones.
TRANSPOSED = [
    (8, 4, 2, 16),
    (6, 4, 2, 12),
    (24, 5, 2, 50),
    (50, 3, 2, 102),
    (16, 9, 2, 37),
    (10, 7, 1, 14),
    (5, 9, 1, 13),
    (4, 3, 3, 11),
]


@pytest.mark.parametrize(
    ("channels", "side", "size", "stride", "target"),
    [
        *(((THIN, THIN), *each) for each in TRANSPOSED[:3]),
        ((3, 2), *TRANSPOSED[0]),
        *slow(*(((THIN, THIN), *each) for each in TRANSPOSED[3:]), ((3, 2), *TRANSPOSED[1])),
    ],
)
def test_transposed_convolution_equals_lax(channels, side, size, stride, target):
    x, kernel = normal(2, side, side, channels[0]), normal(size, size, *channels, seed=1)

    def theirs(x, kernel):
        total = target - (side - 1) * stride + size - 2
        pads = (total // 2, total - total // 2)
        return lax.conv_transpose(x, kernel, (stride, stride), (pads, pads), dimension_numbers=LAYOUT)

    def ours(x, kernel):
        return transposed_convolution(x, kernel, stride=stride, target=target)

    assert jax.eval_shape(ours, x, kernel).shape == (2, target, target, channels[1])
    assert_same_values_and_gradients(ours, theirs, x, kernel)

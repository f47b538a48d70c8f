"""The function in the reference turns parameters into the layouts of PyTorch's layers, as PyTorch defines these."""

import re
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from jaxcaps.models.transposed import TransposedConvolution

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "file-formats.md"


def conv2d(x, weight, padding):
    """`torch.nn.functional.conv2d` with stride 2, in NumPy: maps [batch, channels, rows, columns]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], (2, 3))[:, :, ::2, ::2]
    return np.einsum("nirckl,oikl->norc", windows, weight)


def conv_transpose2d(x, weight, stride, padding, output_padding):
    """`torch.nn.functional.conv_transpose2d` in NumPy: each pixel adds its multiple of the kernel to the result."""
    (batch, _, side, _), (_, out, taps, _) = x.shape, weight.shape
    y = np.zeros((batch, out, *[(side - 1) * stride + taps + output_padding] * 2), np.float32)
    for row, column in np.ndindex(side, side):
        added = np.einsum("ni,iokl->nokl", x[:, :, row, column], weight)
        y[:, :, row * stride : row * stride + taps, column * stride : column * stride + taps] += added
    end = y.shape[2] - padding
    return y[:, :, padding:end, padding:end]


def test_the_layouts_are_those_of_pytorch():
    page = PAGE.read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def to_pytorch" in block)
    exec(code, names := {})
    to_pytorch = names["to_pytorch"]
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(2, 5, 5, 3)).astype(np.float32)
    channels_first = x.transpose(0, 3, 1, 2)

    dense = nnx.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0))
    weight = to_pytorch("decoder/dense/kernel", np.asarray(dense.kernel[...]))
    assert weight.shape == (4, 3)
    np.testing.assert_allclose(x @ weight.T, jax.jit(dense)(x), rtol=1e-4, atol=1e-5)

    convolution = nnx.Conv(3, 4, (3, 3), 2, padding=((1, 1), (1, 1)), use_bias=False, rngs=nnx.Rngs(0))
    weight = to_pytorch("encoder/stem/0/convolutions/0/kernel", np.asarray(convolution.kernel[...]))
    expected = np.asarray(jax.jit(convolution)(x)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(conv2d(channels_first, weight, 1), expected, rtol=1e-4, atol=1e-5)

    # The pads of the second are uneven.
    for taps, target in ((4, 10), (4, 11)):
        settings = {"kernel": taps, "stride": 2, "target": target, "dtype": np.float32, "param_dtype": np.float32}
        layer = TransposedConvolution(3, 4, **settings, rngs=nnx.Rngs(0))
        weight = to_pytorch("decoder/convolutions/0/kernel", np.asarray(layer.kernel[...]))
        expected = np.asarray(jax.jit(layer)(x)).transpose(0, 3, 1, 2)
        pads = target - (5 - 1) * 2 + taps - 2
        found = conv_transpose2d(channels_first, weight, 2, taps - 1 - pads // 2, pads % 2)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

"""The fast transposed convolution against lax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcaps.models.transposed import transposed_convolution

# side, kernel, stride, target: the stages of small presets and of paper224, and odd ones.
CASES = [
    (8, 4, 2, 16),
    (6, 4, 2, 12),
    (24, 5, 2, 50),
    (50, 3, 2, 102),
    (16, 9, 2, 37),
    (10, 7, 1, 14),
    (5, 9, 1, 13),
    (4, 3, 3, 11),
]


def reference(x, kernel, stride, target):
    total = target - (x.shape[1] - 1) * stride + kernel.shape[0] - 2
    pads = (total // 2, total - total // 2)
    return lax.conv_transpose(x, kernel, (stride, stride), (pads, pads), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(("side", "size", "stride", "target"), CASES)
def test_values_and_gradients_equal_lax_conv_transpose(side, size, stride, target):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 2))

    @jax.jit
    def both(x, kernel):
        ours, ours_back = jax.vjp(lambda *a: transposed_convolution(*a, stride=stride, target=target), x, kernel)
        theirs, theirs_back = jax.vjp(lambda *a: reference(*a, stride, target), x, kernel)
        weights = jnp.cos(jnp.arange(ours.size, dtype=ours.dtype)).reshape(ours.shape)
        return (ours, *ours_back(weights)), (theirs, *theirs_back(weights))

    ours, theirs = both(x, kernel)
    assert ours[0].shape == (2, target, target, 2)
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)

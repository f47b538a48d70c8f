"""The residual stage against a convolution and a shortcut in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.config import Branch, ModelConfig, StemStage
from jaxcaps.models.stems.plain import PlainStage
from jaxcaps.models.stems.residual import ResidualStage
from jaxcaps.training.state import with_parameters
from tests.networks import random_parameters

PLAIN = ModelConfig(normalization="none")
STAGES = {
    "same side": (StemStage(4), 8),
    "stride": (StemStage(4, kernel=5, stride=2, padding=2), 9),
    "no padding": (StemStage(4, kernel=5, padding=0), 9),
    "no padding and a stride": (StemStage(4, kernel=3, stride=2, padding=0), 9),
    "cropped": (StemStage(4, kernel=3, padding=-1), 10),
    "much padding": (StemStage(4, kernel=3, padding=3), 5),
    "pooled": (StemStage(4, pooled=True), 8),
    "branches": (StemStage(4, stride=2, branches=(Branch(2, 3, 2, dilation=2), Branch(2, 3, 1))), 8),
}


def stages(stage):
    """A residual and a plain stage of the same random kernels and biases, and these by path."""
    residual, plain = (
        nnx.eval_shape(lambda kind=kind: kind(3, stage, PLAIN, nnx.Rngs(0))) for kind in (ResidualStage, PlainStage)
    )
    drawn = random_parameters(residual)
    return with_parameters(residual, drawn), with_parameters(plain, drawn), drawn


@pytest.mark.parametrize("name", STAGES)
def test_the_shortcut_adds_the_pixel_beneath_the_kernels_centre(name):
    stage, side = STAGES[name]
    x = np.random.default_rng(1).standard_normal((2, side, side, 3), np.float32)
    seen = x.reshape(2, side // 2, 2, side // 2, 2, 3).max(axis=(2, 4)) if stage.pooled else x
    residual, plain, drawn = stages(stage)
    shortcut = np.asarray(drawn["shortcut/kernel"])
    found, convolved = jax.device_get(jax.jit(lambda x, seen: (residual(x), plain.convolved(seen)))(x, seen))
    first = stage.branches[0] if stage.branches else stage
    expected = convolved.copy()
    for row in range(expected.shape[1]):
        for column in range(expected.shape[2]):
            # The first kernel starts at -padding and is (kernel - 1) * dilation + 1 wide.
            reach = (first.kernel - 1) * getattr(first, "dilation", 1)
            y, z = (index * stage.stride - first.padding + reach // 2 for index in (row, column))
            if 0 <= y < seen.shape[1] and 0 <= z < seen.shape[2]:
                expected[:, row, column] += seen[:, y, z] @ shortcut
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_the_input_even_if_the_convolution_is_dead():
    residual, _, drawn = stages(StemStage(4))
    dead = with_parameters(
        residual, {path: value if path.startswith("shortcut") else 0 * value for path, value in drawn.items()}
    )
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(dead(x))))(np.ones((1, 4, 4, 3), np.float32))
    assert np.abs(gradient).max() > 0

"""Group normalisation against Flax and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.models.stem import GROUP_SIZE, GroupNorm

WIDTH = 3 * GROUP_SIZE


@pytest.fixture(autouse=True, params=["0", "1"], ids=["plain", "tuned"])
def form(request, monkeypatch):
    monkeypatch.setenv("JAXCAPS_CPU_KERNELS", request.param)


def layers(dtype, param_dtype):
    """Our layer and Flax's, with the same random scale and bias."""
    ours = GroupNorm(WIDTH, dtype=dtype, param_dtype=param_dtype, rngs=nnx.Rngs(0))
    theirs = nnx.GroupNorm(
        WIDTH, num_groups=None, group_size=GROUP_SIZE, dtype=dtype, param_dtype=param_dtype, rngs=nnx.Rngs(0)
    )
    scale, bias = np.random.default_rng(1).normal(size=(2, WIDTH))
    for layer in (ours, theirs):
        layer.scale[...] = jnp.asarray(1 + scale / 4, param_dtype)
        layer.bias[...] = jnp.asarray(bias, param_dtype)
    return ours, theirs


def outputs(layer, x):
    # A function of its own for each call, since one that is compiled already would keep its form.
    return jax.jit(lambda x: layer(x))(x)


def value_and_gradients(layer, x):
    """The outputs, and the gradients of their weighted sum with respect to inputs and parameters."""
    structure, parameters = nnx.split(layer)

    def outputs(parameters, x):
        with jax.numpy_dtype_promotion("standard"):
            return nnx.merge(structure, parameters)(x)

    @jax.jit
    def differentiated(parameters, x):
        y, backward = jax.vjp(outputs, parameters, x)
        return y, *backward(np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype))

    y, by_parameters, by_inputs = jax.device_get(differentiated(parameters, x))
    return {"value": y, "x": by_inputs, **{name: by_parameters[name][...] for name in ("scale", "bias")}}


def wide_inputs(shape, mean=0.5):
    spread = np.linspace(0.1, 2, WIDTH)
    return mean + spread * np.random.default_rng(0).normal(size=shape)


def by_numpy(x, scale, bias):
    groups = x.reshape(x.shape[0], -1, WIDTH // GROUP_SIZE, GROUP_SIZE)
    mean, variance = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * scale + bias


# bfloat16 allows a few roundings to 8 bits.
@pytest.mark.parametrize(
    ("dtype", "param_dtype", "tolerance", "shape"),
    [
        ("float32", "float32", 1e-5, (2, 5, 4, WIDTH)),
        ("float32", "float32", 1e-5, (3, WIDTH)),
        ("float64", "float64", 1e-12, (2, 5, 4, WIDTH)),
        ("bfloat16", "float32", 2e-2, (2, 5, 4, WIDTH)),
    ],
)
def test_value_and_gradients_equal_those_of_flax(dtype, param_dtype, tolerance, shape):
    with jax.enable_x64(dtype == "float64"):
        ours, theirs = layers(jnp.dtype(dtype), jnp.dtype(param_dtype))
        x = jnp.asarray(wide_inputs(shape), dtype)
        wanted = value_and_gradients(theirs, x)
        for name, found in value_and_gradients(ours, x).items():
            assert found.dtype == wanted[name].dtype, name
            expected = np.asarray(wanted[name], np.float64)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=tolerance * scale, err_msg=name)


def test_a_large_mean_does_not_drown_the_variance():
    # Float32 resolves 1000 to 6e-5, but a mean of squares, 1e6, only to 0.06, while this variance is about 1.
    ours, theirs = layers(jnp.float32, jnp.float32)
    x = np.float32(wide_inputs((2, 6, 6, WIDTH), mean=1000))
    expected = by_numpy(np.float64(x), np.asarray(ours.scale[...]), np.asarray(ours.bias[...]))
    found = value_and_gradients(ours, jnp.asarray(x))
    np.testing.assert_allclose(found["value"], expected, atol=2e-3)
    assert np.abs(outputs(theirs, x) - expected).max() > 1e-2

    with jax.enable_x64(True):
        _, exact = layers(jnp.float64, jnp.float64)
        exact.scale[...], exact.bias[...] = (jnp.asarray(each[...], "float64") for each in (ours.scale, ours.bias))
        wanted = value_and_gradients(exact, jnp.asarray(x, "float64"))
    for name in ("x", "scale", "bias"):
        scale = np.abs(wanted[name]).max()
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-3 * scale, err_msg=name)


def test_statistics_of_bfloat16_are_in_float32():
    ours, _ = layers(jnp.bfloat16, jnp.float32)
    x = jnp.asarray(wide_inputs((2, 32, 32, WIDTH), mean=8), jnp.bfloat16)
    expected = by_numpy(np.asarray(x, np.float64), np.asarray(ours.scale[...]), np.asarray(ours.bias[...]))
    found = np.asarray(outputs(ours, x), np.float64)
    # Rounded once at the end: half a unit in the last of 8 bits.
    np.testing.assert_allclose(found, expected, rtol=2.0**-8, atol=1e-3)


def test_an_example_does_not_depend_on_its_batch():
    ours, _ = layers(jnp.float32, jnp.float32)
    x = np.float32(wide_inputs((3, 4, 4, WIDTH)))
    np.testing.assert_allclose(outputs(ours, x)[1:2], outputs(ours, x[1:2]), rtol=1e-6, atol=1e-6)


def test_a_width_that_is_not_a_multiple_of_the_group_size_is_refused():
    with pytest.raises(ValueError, match="width=12: expected a multiple of 8"):
        GroupNorm(12, rngs=nnx.Rngs(0))

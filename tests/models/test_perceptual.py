"""The frozen perceptual network against NumPy loops, and invalid weight files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcaps.errors import UserError
from jaxcaps.models.perceptual import random_network, read_vgg16
from jaxcaps.models.vgg import CONVOLUTIONS
from tests.vgg import layers_by_loops, vgg_tensors


def test_features_of_torchvisions_tensors_equal_loops_over_them(vgg_file):
    image = np.random.default_rng(1).uniform(size=(9, 8, 3)).astype(np.float32)
    features = jax.device_get(jax.jit(read_vgg16(vgg_file))(image[None]))
    layers = layers_by_loops(vgg_tensors(), image)
    expected = [layers[7], layers[14]]
    assert [each.shape for each in features] == [(1, 4, 4, 128), (1, 2, 2, 256)]
    for mine, theirs in zip(features, expected, strict=True):
        np.testing.assert_allclose(mine[0], theirs, rtol=1e-3, atol=1e-4)


def test_the_random_network_is_vggs_at_a_quarter_of_the_widths_in_he_initialisation():
    network, again = random_network(), random_network()
    assert [kernel.shape[-1] for kernel in network.kernels] == [layer.width // 4 for layer in CONVOLUTIONS]
    for kernel, same in zip(network.kernels, again.kernels, strict=True):
        np.testing.assert_array_equal(kernel, same)
        # With at least 27 x 16 numbers, the standard deviation is accurate to a tenth.
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * kernel.shape[2])), rel=0.1)
    images = np.random.default_rng(0).uniform(size=(4, 16, 16, 3)).astype(np.float32)
    # He initialisation keeps the scale of features over layers.
    for features in jax.device_get(jax.jit(network)(images)):
        assert 0.1 < np.mean(np.square(features)) < 10


def test_features_tell_pictures_apart_and_give_a_finite_gradient():
    network = random_network()
    images = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)

    def distance(images):
        return sum(jnp.mean(jnp.square(each[0] - each[1])) for each in network(images))

    value, gradient = jax.jit(jax.value_and_grad(distance))(images)
    assert value > 0
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def missing(tensors):
    return {name: value for name, value in tensors.items() if name != "features.7.bias"}


def misshapen(tensors):
    return tensors | {"features.10.weight": tensors["features.10.weight"].transpose(2, 3, 1, 0).copy()}


def infinite(tensors):
    return tensors | {"features.2.bias": np.full(64, np.inf, np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (missing, ["features.7.bias", "[128]"]),
        (misshapen, ["features.10.weight", "[3, 3, 128, 256]", "[256, 128, 3, 3]"]),
        (infinite, ["features.2.bias", "not finite"]),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, words, tmp_path):
    save_file(change(vgg_tensors()), tmp_path / "vgg.safetensors")
    with pytest.raises(UserError) as caught:
        read_vgg16(tmp_path / "vgg.safetensors")
    for word in ["--perceptual-weights", "vgg.safetensors", *words]:
        assert word in str(caught.value)


def test_an_invalid_file_is_named(tmp_path):
    (tmp_path / "text.safetensors").write_text("not at all")
    for name in ("text.safetensors", "nowhere.safetensors"):
        with pytest.raises(UserError, match=f"{name} cannot be read as a safetensors file"):
            read_vgg16(tmp_path / name)

"""The plain convolutional network: the size and convolutions of the capsule network, without capsules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.models import CapsNet, ConvNet
from jaxcaps.models.capsnet import count_parameters
from jaxcaps.plan.config import architecture_hash
from jaxcaps.plan.presets import PRESETS, preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.classification.capsnet import Views
from jaxcaps.tasks.classification.convnet import ConvNetClassification
from jaxcaps.training.state import parameters_of, with_parameters
from tests.marks import slow
from tests.networks import random_parameters

TINY = preset("tiny", "finetune")


@pytest.mark.parametrize("classes", [2, 10, *slow(3)])
@pytest.mark.parametrize("name", PRESETS)
def test_it_has_as_many_parameters_as_the_capsule_network(name, classes):
    config = preset(name, "finetune")

    def count(kind):
        return count_parameters(
            nnx.eval_shape(lambda: kind(classes, config.model, config.data.image_size, rngs=nnx.Rngs(0)))
        )

    # Rounding changes the hidden layer by at most one unit, which is a visible share for `tiny`.
    assert count(ConvNet) == pytest.approx(count(CapsNet), rel=0.06 if name == "tiny" else 0.01)


@pytest.fixture(scope="module")
def network():
    shapes = nnx.eval_shape(lambda: ConvNet(3, TINY.model, 16, rngs=nnx.Rngs(0)))
    return with_parameters(shapes, random_parameters(shapes))


PICTURES = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)


@pytest.fixture(scope="module")
def computed(network):
    """Features before the capsules, logits, probabilities and primary capsules of some pictures."""

    @jax.jit
    def compute(x):
        logits = network.outputs(x).logits
        return network.encoder.features(x), network(x), jax.nn.softmax(logits), network.encoder(x).poses

    return jax.device_get(compute(PICTURES))


def test_it_equals_its_layers_applied_by_hand(network, computed):
    features, logits, probabilities, capsules = computed
    parameters = {path: np.asarray(value) for path, value in parameters_of(network).items()}
    hidden = np.maximum(features, 0).reshape(3, -1) @ parameters["hidden/kernel"] + parameters["hidden/bias"]
    expected = np.maximum(hidden, 0) @ parameters["out/kernel"] + parameters["out/bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, shares, rtol=1e-4, atol=1e-5)
    # The same features, squashed, are the primary capsules.
    by_capsule = features.reshape(3, -1, TINY.model.primary_dim)
    squared = (by_capsule**2).sum(-1, keepdims=True)
    np.testing.assert_allclose(capsules, by_capsule * np.sqrt(squared) / (1 + squared), rtol=1e-4, atol=1e-5)


def test_its_loss_is_cross_entropy_over_valid_examples(network, computed):
    task = ConvNetClassification(TINY.model, TINY.augmentation, 16, 3)
    labels, numbers = np.array([0, 2, 1], np.int32), np.arange(3, dtype=np.int32)
    examples = jax.tree.map(jnp.asarray, Examples(labels, numbers, numbers, np.array([True, True, False])))
    loss, metrics = jax.jit(lambda x: task.loss(network, Views(x), examples, jnp.float32(0), Shard()))(PICTURES)
    probabilities = computed[2]
    assert float(loss) == pytest.approx(-np.log(probabilities[[0, 1], [0, 2]]).mean(), rel=1e-4)
    right = probabilities.argmax(-1)[:2] == [0, 2]
    assert float(metrics["accuracy"]) == pytest.approx(right.mean())


def test_every_parameter_has_a_layer_group(network):
    groups = {path: ConvNetClassification.group_of(path) for path in parameters_of(network)}
    assert set(groups.values()) == {"stem", "primary", "head"}


def test_its_architecture_hash_differs_from_that_of_capsules():
    plain = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, architecture="convnet"))
    assert architecture_hash(plain, 3) != architecture_hash(TINY, 3)

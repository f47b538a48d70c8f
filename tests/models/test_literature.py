"""Networks from the literature: published parameter counts, shapes, ranges, gradients, and learning."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxcaps
from jaxcaps import CapsuleDecoder, EfficientCapsNet, InvertedAttentionCapsNet, MatrixCapsNet, SabourCapsNet
from jaxcaps.functional import (
    EM,
    Uniform,
    inverted_attention_routing,
    margin_loss,
    matrix_votes,
    spread_loss,
)
from jaxcaps.models.capsnet import count_parameters
from tests.marks import slow

NETWORKS = [SabourCapsNet, EfficientCapsNet, MatrixCapsNet, InvertedAttentionCapsNet]
SHAPE, CLASSES = (20, 20, 1), 3
# Small networks with three classes.
SMALL = {
    SabourCapsNet: dict(width=16, primary_types=4, primary_dim=4, class_dim=8),
    EfficientCapsNet: dict(stages=((8, 5, 1), (16, 3, 2)), primary_dim=4, class_dim=8),
    MatrixCapsNet: dict(width=16, primary_types=2, types=(3, 2), routing=EM(iterations=2)),
    InvertedAttentionCapsNet: dict(width=16, primary_types=2, types=(3, 2)),
}
networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
# The other networks take minutes to compile.
fast_networks = pytest.mark.parametrize(
    "network",
    [EfficientCapsNet, *slow(*(each for each in NETWORKS if each is not EfficientCapsNet))],
    ids=lambda network: network.__name__,
)


def build(network, **settings):
    return network(shape=SHAPE, classes=CLASSES, **SMALL[network], **settings, rngs=nnx.Rngs(0))


@cache
def small(network, **settings):
    return nnx.jit(partial(build, network, **settings))()


def pictures(count):
    return np.array(jax.random.uniform(jax.random.key(1), (count, *SHAPE)))


compiled = nnx.jit(lambda net, images: net(images))


def call(net, images):
    """What the network makes of the pictures, as NumPy arrays."""
    return jax.device_get(compiled(net, images))


def mean_loss(network, images, labels):
    """The loss of the network's paper, averaged over a batch."""
    routed = network(images)
    if isinstance(network, InvertedAttentionCapsNet):
        return optax.softmax_cross_entropy_with_integer_labels(network.logits(routed), labels).mean()
    loss = partial(spread_loss, margin=0.5) if isinstance(network, MatrixCapsNet) else margin_loss
    return jnp.mean(jax.vmap(loss)(routed.activations, labels))


@pytest.mark.parametrize(
    ("network", "shape", "parameters"),
    [
        (SabourCapsNet, (28, 28, 1), 6_804_224),
        (EfficientCapsNet, (28, 28, 1), 161_824),
        (MatrixCapsNet, (28, 28, 1), 68_572),
        (MatrixCapsNet, (32, 32, 1), 68_572),
        # Backbone, primary capsules and their normalisation, two layers of 32 types, class capsules, classifier.
        (InvertedAttentionCapsNet, (32, 32, 3), 3_584 + 65_536 + 32 + 2 * (147_456 + 32) + (128_000 + 32) + 16),
    ],
)
def test_the_defaults_have_the_papers_parameter_counts(network, shape, parameters):
    abstract = nnx.eval_shape(lambda: network(shape=shape, rngs=nnx.Rngs(0)))
    assert count_parameters(abstract) == parameters


def test_sabours_decoder_completes_its_count():
    def whole():
        rngs = nnx.Rngs(0)
        return SabourCapsNet(decoder=CapsuleDecoder(10, 16, (28, 28, 1), rngs=rngs), rngs=rngs)

    assert count_parameters(nnx.eval_shape(whole)) == 8_215_568


@networks
@pytest.mark.parametrize(
    ("shape", "classes"), [((36, 28, 3), 2), *slow(((28, 28, 1), 10), ((32, 32, 2), 5), ((48, 48, 2), 5))]
)
def test_pictures_of_any_size_and_channels_give_one_capsule_per_class(network, shape, classes):
    def classify(images):
        return network(shape=shape, classes=classes, rngs=nnx.Rngs(0))(images)

    routed = jax.eval_shape(classify, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    assert routed.poses.shape == (2, classes, 16)
    assert routed.activations.shape == (2, classes)
    assert routed.couplings.shape[0] == 2
    assert routed.couplings.shape[-1] == classes


@pytest.mark.parametrize(("shape", "padding", "sides"), [((32, 32, 1), 0, (4, 4)), ((28, 28, 1), 2, (4, 4))])
def test_matrix_capsules_have_the_maps_of_the_papers_figure(shape, padding, sides):
    def classify(images):
        return MatrixCapsNet(shape=shape, padding=padding, rngs=nnx.Rngs(0))(images)

    routed = jax.eval_shape(classify, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    assert routed.couplings.shape == (2, *sides, 16, 10)


def test_sabour_routes_1152_capsules():
    routed = jax.eval_shape(
        lambda images: SabourCapsNet(rngs=nnx.Rngs(0))(images), jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    )
    assert routed.couplings.shape == (2, 1152, 10)


@fast_networks
def test_activations_are_in_range_and_an_example_depends_on_no_other(network):
    net, images = small(network), pictures(4)
    routed = call(net, images)
    assert float(routed.activations.min()) > 0
    assert float(routed.activations.max()) < 1
    if network in (SabourCapsNet, EfficientCapsNet):
        np.testing.assert_allclose(routed.activations, np.linalg.norm(routed.poses, axis=-1), rtol=1e-5)
    if network is InvertedAttentionCapsNet:
        np.testing.assert_allclose(routed.activations.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(routed.activations, jax.nn.softmax(net.logits(routed)), rtol=1e-5)
    # In another order, and one of them in another batch.
    order = np.array([2, 0, 3, 3])
    other_images = images[order]
    other_images[3] = 0.5
    others = call(net, other_images)
    for whole, part in zip(routed, others, strict=True):
        np.testing.assert_allclose(whole[order[:3]], part[:3], rtol=1e-4, atol=1e-5)


@fast_networks
def test_bfloat16_computes_close_to_float32_and_keeps_float32_parameters(network):
    exact, rough, images = small(network), small(network, dtype=jnp.bfloat16), pictures(4)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(rough))} == {jnp.dtype("float32")}
    routed = call(rough, images)
    assert {each.dtype for each in routed} == {jnp.dtype("bfloat16")}
    np.testing.assert_allclose(np.float32(routed.activations), call(exact, images).activations, atol=0.05)


@fast_networks
def test_gradients_reach_every_parameter_and_adam_lowers_the_loss(network):
    images, labels = pictures(32), np.arange(32, dtype=np.int32) % CLASSES
    graph, parameters = nnx.split(small(network))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(parameters, state):
        loss, gradients = jax.value_and_grad(lambda p: mean_loss(nnx.merge(graph, p), images, labels))(parameters)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state)
            parameters = optax.apply_updates(parameters, updates)
        return parameters, state, loss, gradients

    state, losses = jax.jit(optimizer.init)(parameters), []
    for _ in range(15):
        parameters, state, loss, gradients = step(parameters, state)
        if not losses:
            norms = {
                jax.tree_util.keystr(path): float(np.linalg.norm(leaf))
                for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
            }
            assert all(np.isfinite(norm) and norm > 0 for norm in norms.values()), norms
        losses.append(float(loss))
    assert losses[-1] < 0.95 * losses[0], losses


def test_sabour_reconstructs_the_labelled_class_or_the_longest():
    @jax.jit
    def run(images):
        net = build(SabourCapsNet, decoder=CapsuleDecoder(CLASSES, 8, SHAPE, widths=(16,), rngs=nnx.Rngs(1)))
        routed = net(images)
        labels = jnp.argmax(routed.activations, axis=1)
        others = (labels + 1) % CLASSES
        return [net.reconstruct(routed.poses, *which) for which in ((), (labels,), (others,))]

    images = pictures(4)
    made, labelled, other = run(images)
    assert made.shape == images.shape
    np.testing.assert_array_equal(made, labelled)
    assert not np.allclose(made, other)


def test_reconstructing_without_a_decoder_says_what_is_missing():
    net = nnx.eval_shape(partial(build, SabourCapsNet))
    with pytest.raises(ValueError, match="CapsuleDecoder"):
        net.reconstruct(jnp.zeros((2, CLASSES, 8)))


def test_a_network_takes_another_routing():
    routed = jax.jit(lambda images: build(SabourCapsNet, routing=Uniform())(images))(pictures(4))
    np.testing.assert_allclose(routed.couplings, 1 / CLASSES, rtol=1e-6)


def test_inverted_attention_routes_all_layers_at_once_after_the_first_iteration():
    def first(net, images):
        """Returns the maps below the classes and the class poses after one iteration."""
        features = net.primary(nnx.relu(net.convolution(images)))
        poses = net.primary_norm(features.reshape(*features.shape[:-1], -1, 16))
        for layer in net.layers[:-1]:
            poses = layer(poses).poses
        below = poses.reshape(len(images), -1, 16)
        return below, net.layers[-1](below).poses

    def second(net, below, before):
        """The class poses of the second iteration depend on the first iteration's poses below and on their own."""
        top = net.layers[-1]
        parameters = {name: getattr(top, name)[...] for name in top.names}

        def route(below, before):
            votes = matrix_votes(top.weights[...], below)
            return inverted_attention_routing(votes, initial_poses=before, iterations=1, **parameters)

        return jax.vmap(route)(below, before)

    @jax.jit
    def run(images):
        once, twice = (build(InvertedAttentionCapsNet, iterations=iterations) for iterations in (1, 2))
        below, poses = first(once, images)
        return once(images).poses, poses, twice(images), second(twice, below, poses)

    once, poses, routed, expected = run(pictures(2))
    np.testing.assert_allclose(once, poses, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(routed.poses, expected.poses, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(routed.couplings, expected.couplings, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda rngs: SabourCapsNet(shape=(16, 16, 1), rngs=rngs), "kernel=9 does not fit"),
        (lambda rngs: EfficientCapsNet(shape=(8, 8, 1), rngs=rngs), "kernel=3 does not fit"),
        (lambda rngs: EfficientCapsNet(primary_dim=7, rngs=rngs), "primary_dim=7"),
        (lambda rngs: EfficientCapsNet(stages=((12, 5, 1),), rngs=rngs), "width=12"),
        (lambda rngs: MatrixCapsNet(shape=(16, 16, 1), rngs=rngs), "kernel=3 does not fit"),
        (lambda rngs: InvertedAttentionCapsNet(iterations=0, rngs=rngs), "iterations"),
    ],
)
def test_invalid_networks_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: build(nnx.Rngs(0)))


def test_the_networks_are_public():
    for network in NETWORKS:
        assert getattr(jaxcaps, network.__name__) is network
        assert network.__name__ in dir(jaxcaps)

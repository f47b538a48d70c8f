"""The networks to compare, and their losses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.mnist.digits import CANVAS, SIDE
from jaxcaps.functional import AnyRouting, Routed, margin_loss, safe_norm, spread_loss, spread_margin
from jaxcaps.models import EfficientCapsNet, SabourCapsNet
from jaxcaps.models.stem import GroupNorm, stem_convolution
from jaxcaps.nnx import CapsuleDecoder, ClassCaps, PrimaryCaps

CLASSES = 10
# Of `RoutedNetwork`: 8 types on a grid of 6x6.
IN_CAPSULES = 8 * 6 * 6
# Weight of the summed squared error (Sabour et al. 2017, section 4.1).
RECONSTRUCTION_WEIGHT = 0.0005


def efficient(seed: int) -> nnx.Module:
    return EfficientCapsNet(rngs=nnx.Rngs(seed))


def efficient_loss(network: Any, images: jax.Array, labels: jax.Array, progress: jax.Array) -> jax.Array:
    return jnp.mean(jax.vmap(margin_loss)(network(images).activations, labels))


def sabour(seed: int) -> nnx.Module:
    rngs = nnx.Rngs(seed)
    return SabourCapsNet(decoder=CapsuleDecoder(CLASSES, 16, (SIDE, SIDE, 1), rngs=rngs), rngs=rngs)


def sabour_loss(network: Any, images: jax.Array, labels: jax.Array, progress: jax.Array) -> jax.Array:
    routed = network(images)
    pictures = network.reconstruct(routed.poses, labels)
    squared = jnp.sum(jnp.square(pictures - images), axis=(1, 2, 3))
    margins = jax.vmap(margin_loss)(routed.activations, labels)
    return jnp.mean(margins + RECONSTRUCTION_WEIGHT * squared)


class Stem(nnx.Module):
    """40x40 -> 8x8x64 by a 5x5 and a 3x3 convolution of stride 2."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = stem_convolution(1, 32, kernel=5, stride=2, rngs=rngs)
        self.first_norm = GroupNorm(32, rngs=rngs)
        self.second = stem_convolution(32, 64, kernel=3, stride=2, rngs=rngs)
        self.second_norm = GroupNorm(64, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.first_norm(self.first(images)))
        return nnx.relu(self.second_norm(self.second(x)))


class RoutedNetwork(nnx.Module):
    """The stem, a 6x6 grid of 8 types of 8-dimensional primary capsules, and 16-dimensional class capsules.

    The class capsules use any routing. Their transforms are shared over positions, whose coordinates are added to the
    votes. If a routing needs activations of its input capsules, they are the norms of the poses.
    """

    def __init__(self, routing: AnyRouting, seed: int):
        rngs = nnx.Rngs(seed)
        self.stem = Stem(rngs)
        self.primary = PrimaryCaps(64, 8, 8, kernel=3, rngs=rngs)
        self.class_capsules = ClassCaps(6, 6, 8, CLASSES, 8, 16, routing=routing, rngs=rngs)
        self.needs_activations = "in_activations" in getattr(routing, "needs", ())

    def __call__(self, images: jax.Array) -> Routed:
        poses = self.primary.map_of(self.stem(images))
        routed: Routed = self.class_capsules(poses, safe_norm(poses) if self.needs_activations else None)
        return routed


def routed_loss(network: Any, images: jax.Array, labels: jax.Array, progress: jax.Array) -> jax.Array:
    losses = jax.vmap(spread_loss, in_axes=(0, 0, None))
    return jnp.mean(losses(network(images).activations, labels, spread_margin(progress)))


class Logits(NamedTuple):
    """Attributes: activations [batch, classes], unbounded."""

    activations: jax.Array


class PlainNetwork(nnx.Module):
    """The stem, a third convolution in place of the primary capsules, pooling and a dense layer.

    With a width of 72, it has as many parameters as the capsule networks.
    """

    def __init__(self, seed: int):
        rngs = nnx.Rngs(seed)
        self.stem = Stem(rngs)
        self.third = stem_convolution(64, 72, kernel=3, rngs=rngs)
        self.third_norm = GroupNorm(72, rngs=rngs)
        self.dense = nnx.Linear(3 * 3 * 72, CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> Logits:
        x = nnx.relu(self.third_norm(self.third(self.stem(images))))
        pooled = nnx.avg_pool(x, (2, 2), (2, 2))
        return Logits(self.dense(pooled.reshape(len(images), -1)))


def plain_loss(network: Any, images: jax.Array, labels: jax.Array, progress: jax.Array) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network(images).activations, labels))


assert CANVAS == 40, "the stem is designed for 40x40 pictures"

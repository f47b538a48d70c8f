"""What must agree between a device and a CPU: functions of the library with arguments to try them on.

Floating-point arguments are given in float32, the others as they are.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps import functional
from jaxcaps.functional import ROUTINGS, RoutingShape, routing_parameters

BATCH = 8


class Case(NamedTuple):
    """A function of arrays, or of pytrees of them, and its arguments.

    Attributes:
        kind: "routing", "loss", "augmentation", "mask", "colour", "layer" or "squash".
        differentiable: whether to compare the gradient by its floating-point arguments.
    """

    kind: str
    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    differentiable: bool = True


def cases() -> Iterator[Case]:
    for name in ROUTINGS:
        yield from _routings(name)
    yield from _losses()
    yield from _views()
    yield from _masks()
    yield from _layers()


def _normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)).astype(np.float32)


def _uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(low, high, shape).astype(np.float32)


def _parameters(routing: Any, shape: RoutingShape) -> dict[str, np.ndarray]:
    specs = routing_parameters(routing, shape)
    return {
        name: 0.1 * _normal(*spec.shape) + (not callable(spec.initial) and spec.initial) for name, spec in specs.items()
    }


def _routings(name: str) -> Iterator[Case]:
    routing: Any = ROUTINGS[name]()
    active = "in_activations" in routing.needs
    for layer, call, weights, poses in (
        ("dense", functional.dense_caps, _normal(512, 10, 16, 8, scale=0.15), _normal(BATCH, 512, 8)),
        (
            "convolutional",
            partial(functional.conv_caps, stride=2),
            _normal(3, 3, 4, 6, 16, 8, scale=0.3),
            _normal(BATCH, 9, 9, 4, 8),
        ),
        ("class", functional.class_caps, _normal(4, 5, 16, 8, scale=0.3), _normal(BATCH, 6, 6, 4, 8)),
    ):
        in_capsules = {"dense": 512, "convolutional": 36, "class": 144}[layer]
        shape = RoutingShape(in_capsules, weights.shape[-3], weights.shape[-1], weights.shape[-2])

        def route(weights: Any, parameters: Any, poses: Any, activations: Any = None, call: Any = call) -> Any:
            return call(routing, weights, parameters, poses, activations)

        arguments: tuple[Any, ...] = (weights, _parameters(routing, shape), poses)
        if active:
            arguments += (_uniform(*poses.shape[:-1], low=0.1),)
        yield Case("routing", f"{name}, {layer} layer", route, arguments)


def _losses() -> Iterator[Case]:
    classes, labels = _uniform(BATCH, 5), np.arange(BATCH) % 5
    yield Case("loss", "margin", jax.vmap(functional.margin_loss), (classes, labels))
    yield Case(
        "loss", "spread", lambda a, t: jax.vmap(lambda a, t: functional.spread_loss(a, t, 0.9))(a, t), (classes, labels)
    )
    z = _normal(64, 32), _normal(64, 33)[:, :32]
    groups = np.arange(64) // 2

    def contrast(z_a: Any, z_b: Any, groups: Any) -> Any:
        return functional.nt_xent(z_a, z_b, temperature=0.2, groups=groups)

    yield Case("loss", "NT-Xent", contrast, (*z, groups))
    poses = _normal(BATCH, 36, 8), _normal(BATCH, 36, 9)[..., :8]
    yield Case("loss", "hidden poses", jax.vmap(functional.hidden_pose_loss), (*poses, _uniform(BATCH, 36) > 0.5))
    pictures = _uniform(BATCH, 32, 32, 3), _uniform(BATCH, 32, 32, 4)[..., :3], _uniform(BATCH, 32, 32) > 0.5
    yield Case("loss", "masked L1", jax.vmap(functional.masked_l1), pictures)
    yield Case("loss", "masked L2", jax.vmap(functional.masked_l2), pictures)
    maps = [_normal(16, 16, 8), _normal(8, 8, 16)]
    yield Case("loss", "perceptual", functional.perceptual_loss, (maps, [each + 1 for each in maps]))
    bins = len(functional.ab_bins().centres)
    cross = (_normal(16, 16, bins), _normal(16, 16, 2, scale=20.0), _uniform(bins, low=0.5))
    yield Case("loss", "rebalanced cross-entropy", functional.rebalanced_cross_entropy, cross)
    for squash in (functional.squash, functional.exponential_squash, functional.safe_norm):
        yield Case("squash", squash.__name__, squash, (_normal(BATCH, 64, 16),))
    picture = _uniform(32, 32, 3)
    yield Case("colour", "Lab from RGB", functional.lab_from_rgb, (picture,))
    yield Case(
        "colour", "RGB from Lab", functional.rgb_from_lab, (_normal(32, 32, 3, scale=15.0) + np.float32([50, 0, 0]),)
    )
    yield Case("colour", "soft bins", functional.soft_bins, (_normal(16, 16, 2, scale=20.0),))
    yield Case("colour", "annealed mean", functional.annealed_mean, (_normal(16, 16, bins),))


def _keys() -> np.ndarray:
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(1), BATCH)))


def _by_key(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Of a batch: keys are wrapped inside, since they are not arrays that a CPU and a device could share."""

    def of_batch(keys: Any, *others: Any) -> Any:
        return jax.vmap(function)(jax.random.wrap_key_data(keys), *others)

    return of_batch, (_keys(), *arguments)


def _views() -> Iterator[Case]:
    pictures = _uniform(BATCH, 48, 48, 3)
    # Smooth pictures: of noise, the least difference in where a pixel comes from makes another picture.
    for axis in (1, 2):
        for _ in range(4):
            pictures = (pictures + np.roll(pictures, 1, axis) + np.roll(pictures, -1, axis)) / 3
    yield Case("augmentation", "augment", *_by_key(partial(functional.augment, size=24), pictures))
    yield Case("augmentation", "affine matrix", *_by_key(lambda key: functional.affine_matrix(key, 48, 48)))
    yield Case("augmentation", "colour jitter", *_by_key(functional.colour_jitter, pictures))
    adjust = jax.vmap(partial(functional.adjust_colour, brightness=1.1, contrast=0.9, saturation=1.2, hue=0.05))
    yield Case("augmentation", "adjust colour", adjust, (pictures,))
    blur = jax.vmap(partial(functional.gaussian_blur, sigma=0.8, radius=3))
    yield Case("augmentation", "Gaussian blur", blur, (pictures,))
    matrix = np.array([[0.8, 0.1, 3.0], [-0.1, 0.9, 2.0]], np.float32)
    yield Case("augmentation", "warp", jax.vmap(lambda image: functional.warp(image, jnp.asarray(matrix))), (pictures,))
    yield Case("augmentation", "shrink", jax.vmap(lambda image: functional.shrink(image, 24)), (pictures,))


def _masks() -> Iterator[Case]:
    for name, draw in (
        ("blocks", lambda key: functional.block_mask(key, 48, 48)),
        ("free-form", lambda key: functional.free_form_mask(key, 48, 48)),
        ("places", lambda key: functional.place_mask(key, 36, fraction=0.5)),
    ):
        yield Case("mask", name, *_by_key(draw), differentiable=False)
    yield Case("mask", "central", lambda: functional.central_mask(48, 48), (), differentiable=False)
    pictures, mask = _uniform(BATCH, 24, 24, 3), _uniform(BATCH, 24, 24) > 0.5
    yield Case("mask", "hide", jax.vmap(lambda image, mask: functional.hide(image, mask, 0.5)), (pictures, mask))


def _layers() -> Iterator[Case]:
    for kernel, stride, dilation in ((3, 1, 1), (5, 2, 1), (3, 1, 2), (9, 1, 1)):

        def convolve(inputs: Any, weights: Any, stride: int = stride, dilation: int = dilation) -> Any:
            rhs_dilation = (dilation, dilation)
            return functional.convolution(
                inputs, weights, (stride, stride), ((1, 1), (1, 1)), rhs_dilation=rhs_dilation
            )

        name = f"convolution, kernel {kernel}, stride {stride}, dilation {dilation}"
        weights = _normal(kernel, kernel, 16, 24, scale=1 / (4 * kernel))
        yield Case("layer", name, convolve, (_normal(BATCH, 20, 20, 16), weights))

    def upsample(inputs: Any, weights: Any) -> Any:
        return functional.transposed_convolution(inputs, weights, stride=2, target=19)

    yield Case(
        "layer", "transposed convolution", upsample, (_normal(BATCH, 10, 10, 16), _normal(4, 4, 16, 8, scale=0.1))
    )

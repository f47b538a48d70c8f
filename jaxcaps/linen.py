"""Capsule layers for Flax Linen: those of `jaxcaps.nnx`, with the same names and shapes of parameters.

Like all Linen layers, they read the shapes of the in capsules from their first input. `jaxcaps.nnx` explains the
arguments. These layers are kept for those who use them; new ones are added to `jaxcaps.nnx` only.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float, Integer

from jaxcaps.functional import (
    AnyRouting,
    Dynamic,
    GivenRouting,
    Padding,
    ParameterSpec,
    Routed,
    RoutingShape,
    Size,
    Transform,
    as_routing,
    at_least_float32,
    class_caps,
    conv_caps,
    convolution,
    default_coordinates,
    dense_caps,
    initial_deviation,
    longest_capsule,
    routing_parameters,
    select_capsule,
    squash,
    weight_shape,
    window,
)


def _convolution(features: int, kernel: Size, stride: Size, padding: Padding, **settings: Any) -> linen.Conv:
    kernel, stride, padding = window(kernel, stride, padding)
    return linen.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=((padding, padding), (padding, padding)),
        conv_general_dilated=convolution,
        **settings,
    )


class PrimaryCaps(linen.Module):
    """See `jaxcaps.nnx.PrimaryCaps`."""

    types: int
    dim: int
    kernel: Size
    stride: Size = 1
    padding: Padding = 0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convolution = _convolution(
            self.types * self.dim,
            self.kernel,
            self.stride,
            self.padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def __call__(self, features: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch capsules dim"]:
        maps = self.map_of(features)
        return maps.reshape(*maps.shape[:-4], -1, self.dim)

    def map_of(
        self, features: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch rows columns types dim"]:
        maps = self.convolution(features)
        return squash(maps.reshape(*maps.shape[:-1], self.types, self.dim))


class MatrixPrimaryCaps(linen.Module):
    """See `jaxcaps.nnx.MatrixPrimaryCaps`."""

    types: int
    dim: int = 16
    kernel: Size = 1
    stride: Size = 1
    padding: Padding = 0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        shape = (self.kernel, self.stride, self.padding)
        settings = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        self.poses = _convolution(self.types * self.dim, *shape, **settings)
        self.activations = _convolution(self.types, *shape, **settings)

    def __call__(
        self, features: Float[Array, "*batch height width channels"]
    ) -> tuple[Float[Array, "*batch rows columns types dim"], Float[Array, "*batch rows columns types"]]:
        poses = self.poses(features)
        return poses.reshape(*poses.shape[:-1], self.types, self.dim), jax.nn.sigmoid(self.activations(features))


class _RoutedLayer(linen.Module):
    """Owns the weights of the votes and the parameters of the routing."""

    def _arguments(
        self,
        poses: Array,
        activations: Array | None,
        leading: tuple[int, ...],
        in_capsules: int,
        out_capsules: int,
        settings: "DenseCaps | ConvCaps | ClassCaps",
        shared_by: int = 1,
    ) -> tuple[AnyRouting, Array, dict[str, Array], Array, Array | None]:
        routing, dtype = as_routing(settings.routing), settings.dtype
        shape = RoutingShape(in_capsules, out_capsules, poses.shape[-1], settings.out_dim)
        matrix = weight_shape(settings.transform, shape.in_dim, shape.out_dim)
        deviation = initial_deviation(routing, shape, settings.transform, settings.in_norm_squared, shared_by=shared_by)
        draw = linen.initializers.normal(deviation)
        weights = self.param("weights", draw, (*leading, *matrix), settings.param_dtype)
        specs: Mapping[str, ParameterSpec] = routing_parameters(routing, shape)
        parameters = {}
        for name, spec in specs.items():
            initial = spec.initial if callable(spec.initial) else linen.initializers.constant(spec.initial)
            parameters[name] = self.param(name, initial, spec.shape, settings.param_dtype)
        return routing, weights.astype(dtype), parameters, poses.astype(dtype), activations


class DenseCaps(_RoutedLayer):
    """See `jaxcaps.nnx.DenseCaps`."""

    out_capsules: int
    out_dim: int
    routing: GivenRouting = Dynamic()
    transform: Transform = "vector"
    in_norm_squared: float = 1.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(
        self, poses: Float[Array, "*batch in in_dim"], activations: Float[Array, "*batch in"] | None = None
    ) -> Routed:
        in_capsules = poses.shape[-2]
        leading = (in_capsules, self.out_capsules)
        arguments = self._arguments(poses, activations, leading, in_capsules, self.out_capsules, self)
        return dense_caps(*arguments, transform=self.transform)


class ConvCaps(_RoutedLayer):
    """See `jaxcaps.nnx.ConvCaps`."""

    out_types: int
    out_dim: int
    kernel: Size
    stride: Size = 1
    padding: Padding = 0
    positions: tuple[int, int] | None = None
    routing: GivenRouting = Dynamic()
    transform: Transform = "vector"
    in_norm_squared: float = 1.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(
        self,
        poses: Float[Array, "*batch height width in in_dim"],
        activations: Float[Array, "*batch height width in"] | None = None,
    ) -> Routed:
        in_types = poses.shape[-2]
        kernel, stride, padding = window(self.kernel, self.stride, self.padding)
        leading = (*(self.positions or ()), kernel, kernel, in_types, self.out_types)
        in_capsules = kernel**2 * in_types
        arguments = self._arguments(poses, activations, leading, in_capsules, self.out_types, self)
        return conv_caps(*arguments, stride=stride, padding=padding, transform=self.transform)


class ClassCaps(_RoutedLayer):
    """See `jaxcaps.nnx.ClassCaps`."""

    classes: int
    out_dim: int
    coordinates: bool = True
    routing: GivenRouting = Dynamic()
    transform: Transform = "vector"
    in_norm_squared: float = 1.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(
        self,
        poses: Float[Array, "*batch height width in in_dim"],
        activations: Float[Array, "*batch height width in"] | None = None,
    ) -> Routed:
        height, width, in_types, _ = poses.shape[-4:]
        in_capsules = height * width * in_types
        leading = (in_types, self.classes)
        arguments = self._arguments(poses, activations, leading, in_capsules, self.classes, self, height * width)
        places = default_coordinates(self.transform, self.out_dim) if self.coordinates else None
        return class_caps(*arguments, transform=self.transform, coordinates=places)


class CapsuleDecoder(linen.Module):
    """See `jaxcaps.nnx.CapsuleDecoder`."""

    shape: Sequence[int]
    widths: Sequence[int] = (512, 1024)
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        for index, width in enumerate((*self.widths, math.prod(self.shape))):
            layer = linen.Dense(
                width, kernel_init=linen.initializers.he_normal(), dtype=self.dtype, param_dtype=self.param_dtype
            )
            setattr(self, f"dense_{index}", layer)

    def __call__(
        self, poses: Float[Array, "*batch classes dim"], labels: Integer[Array, "*batch"] | None = None
    ) -> Array:
        if labels is None:
            chosen = jnp.vectorize(longest_capsule, signature="(c,d)->(c,d)")(poses)
        else:
            chosen = jnp.vectorize(select_capsule, signature="(c,d),()->(c,d)")(poses, labels)
        x = chosen.reshape(*chosen.shape[:-2], -1)
        *hidden, last = (getattr(self, f"dense_{index}") for index in range(len(self.widths) + 1))
        for layer in hidden:
            x = linen.relu(layer(x))
        return jax.nn.sigmoid(at_least_float32(last(x))).reshape(*x.shape[:-1], *self.shape)
